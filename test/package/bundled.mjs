// What esbuild bundles: the entry of one platform, whose binary it sees.
import {imageNetLabels, RepVGG} from 'repvgg/linux-x64';

const model = await RepVGG.load('digits');
const [[best]] = await model.classify(['bundle/assets/digits/images/0003-3.png']);
await model.dispose();
console.log(best.label, (await imageNetLabels()).length);
