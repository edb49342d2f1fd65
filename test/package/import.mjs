// What --permission has to allow is in the test that runs this.
import {RepVGG} from 'repvgg';

try {
  const model = await RepVGG.load('digits');
  const [[best]] = await model.classify(['node_modules/repvgg/assets/digits/images/0003-3.png']);
  await model.dispose();
  console.log(best.label);
} catch (error) {
  console.log(error.code, error.message);
}
