// Puts the plotting library into dist/bench/charts.js, so that installing the package does not install its forty
// packages. Their licences go beside it.
import {readdir, readFile, rename, rm, writeFile} from 'node:fs/promises';
import {build} from 'esbuild';

const charts = 'dist/bench/charts.js';
const bundle = 'dist/bench/charts.bundle.js';

const {metafile} = await build({
  entryPoints: [charts],
  outfile: bundle,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  minify: true,
  metafile: true,
  // domino is CommonJS.
  banner: {js: "import {createRequire as r} from 'node:module';const require=r(import.meta.url);"},
});
await rename(bundle, charts);
await rm(`${charts}.map`, {force: true}); // Of what tsc wrote.

const packages = new Set(
  Object.keys(metafile.inputs).flatMap(path => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? []),
);
const texts = await Promise.all([...packages].sort().map(licenceOf));
await writeFile('dist/bench/charts.LICENSES.txt', texts.join(`\n${'-'.repeat(80)}\n\n`));

async function licenceOf(name) {
  const folder = `node_modules/${name}`;
  const file = (await readdir(folder)).find(entry => /^licen[cs]e/i.test(entry));
  if (!file) throw new Error(`${name}, which is bundled, has no licence file.`);
  const {version} = JSON.parse(await readFile(`${folder}/package.json`, 'utf8'));
  return `${name} ${version}\n\n${(await readFile(`${folder}/${file}`, 'utf8')).trim()}\n`;
}
