// A CommonJS caller.
const {RepVGG} = require('repvgg');

RepVGG.load('digits').then(async model => {
  const [[best]] = await model.classify(['node_modules/repvgg/assets/digits/images/0003-3.png']);
  await model.dispose();
  console.log(best.label);
});
