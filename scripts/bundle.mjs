// Bundles libraries into files of dist, so that users do not have to install them and their dependencies: the plotting library's forty
// packages, and twelve megabytes of the hub's client. Writes their licences beside them.
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
    // For domino, which is CommonJS.
    banner: {js: "import {createRequire as r} from 'node:module';const require=r(import.meta.url);"},
  });
  await rename(`${name}.bundle.js`, `${name}.js`);
  await rm(`${name}.js.map`, {force: true}); // It belongs to the file that tsc wrote.
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
  // Some packages of the hub's client name their licence without its text.
  const text = file
    ? (await readFile(`${folder}/${file}`, 'utf8')).trim()
    : [license, author?.name ?? author].filter(Boolean).join(', ');
  if (!text) throw new Error(`The bundled package ${name} has no licence.`);
  return `${name} ${version}\n\n${text}\n`;
}
