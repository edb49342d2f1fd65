// Puts libraries into files of dist, so that installing the package does not install what they come with: the plotting
// library's forty packages, and the twelve megabytes of the hub's client. Their licences go beside them.
import {readdir, readFile, rename, rm, writeFile} from 'node:fs/promises';
import {build} from 'esbuild';

for (const name of ['dist/bench/charts', 'dist/hub/client']) await bundle(name);

async function bundle(name) {
  const {metafile} = await build({
    entryPoints: [`${name}.js`],
    outfile: `${name}.bundle.js`,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    minify: true,
    metafile: true,
    // domino is CommonJS.
    banner: {js: "import {createRequire as r} from 'node:module';const require=r(import.meta.url);"},
  });
  await rename(`${name}.bundle.js`, `${name}.js`);
  await rm(`${name}.js.map`, {force: true}); // Of what tsc wrote.
  const packages = new Set(
    Object.keys(metafile.inputs).flatMap(path => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? []),
  );
  const texts = await Promise.all([...packages].sort().map(licenceOf));
  await writeFile(`${name}.LICENSES.txt`, texts.join(`\n${'-'.repeat(80)}\n\n`));
}

async function licenceOf(name) {
  const folder = `node_modules/${name}`;
  const {version, license, author} = JSON.parse(await readFile(`${folder}/package.json`, 'utf8'));
  const file = (await readdir(folder)).find(entry => /^licen[cs]e/i.test(entry));
  // Some packages of the hub's client name their licence and leave its text out.
  const text = file
    ? (await readFile(`${folder}/${file}`, 'utf8')).trim()
    : [license, author?.name ?? author].filter(Boolean).join(', ');
  if (!text) throw new Error(`${name}, which is bundled, has no licence.`);
  return `${name} ${version}\n\n${text}\n`;
}
