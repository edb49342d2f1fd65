import test from 'ava';
import {
  convertCheckpoint,
  defineArchitecture,
  exportOnnx,
  openSource,
  RepVGG,
  scoreToFile,
  verifyCheckpoint,
} from '../ts/index.ts';
import {temporaryFolder} from './folder.ts';

const calls: Record<
  string,
  {misspelt: object; list: RegExp; call: (options: object, folder: string) => unknown}
> = {
  load: {
    misspelt: {label: ['a']},
    list: /"labels", .*"signal"/,
    call: options => RepVGG.load('digits', options),
  },
  classify: {misspelt: {topk: 3}, list: /"topK"/, call: options => model.classify([], options)},
  classifySettled: {misspelt: {topk: 3}, list: /"topK"/, call: options => model.classifySettled([], options)},
  logits: {
    misspelt: {batchSize: 2},
    list: /^Expected "fetchTimeout", "signal" for/,
    call: options => model.logits([], options),
  },
  embed: {
    misspelt: {topK: 2},
    list: /^Expected "fetchTimeout", "signal" for/,
    call: options => model.embed([], options),
  },
  score: {misspelt: {outputs: 'logits'}, list: /"output", /, call: options => model.score([], options)},
  scoreStream: {misspelt: {topk: 3}, list: /"topK", /, call: options => model.scoreStream(options)},
  scoreTransformStream: {
    misspelt: {topk: 3},
    list: /"topK", /,
    call: options => model.scoreTransformStream(options),
  },
  scoreToFile: {
    misspelt: {uniqueIds: false},
    list: /"topK", .*"resume", "settings", "stop", "onProgress" for/,
    call: (options, folder) => scoreToFile(model, [], `${folder}/rows.csv`, options),
  },
  openSource: {
    misspelt: {column: 'url'},
    list: /"imageColumn", /,
    call: options => openSource('x.csv', options),
  },
  convertCheckpoint: {
    misspelt: {precision: 'fp16'},
    list: /"form", /,
    call: (options, folder) => convertCheckpoint('digits', `${folder}/x.pth`, options),
  },
  exportOnnx: {
    misspelt: {dtype: 'fp16'},
    list: /"precision", /,
    call: (options, folder) => exportOnnx('digits', `${folder}/x.onnx`, options),
  },
  verifyCheckpoint: {
    misspelt: {tolerence: 1},
    list: /"tolerance" for/,
    call: options => verifyCheckpoint('digits', options),
  },
  defineArchitecture: {
    misspelt: {group: 2},
    list: /"groups", /,
    call: options => defineArchitecture({numBlocks: [1, 1, 1, 1], widthMultiplier: [1, 1, 1, 1], ...options}),
  },
};

let model: RepVGG;
test.before(async () => {
  model = await RepVGG.load('digits', {device: 'cpu'});
});
test.after.always(() => model?.dispose());

for (const [name, {misspelt, list, call}] of Object.entries(calls)) {
  test(`${name} refuses an option that it does not have, and lists those that it has`, async t => {
    const folder = await temporaryFolder(t);
    const error = await t.throwsAsync(async () => call(misspelt, folder), {code: 'ERR_INVALID_ARGUMENT'});
    t.regex(error?.message ?? '', list);
    t.regex(
      error?.message ?? '',
      new RegExp(` for the fields of options but received "${Object.keys(misspelt)}"\\.$`),
    );
  });
}
