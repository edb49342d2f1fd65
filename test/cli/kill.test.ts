import {readdir, readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {tableFromIPC} from 'apache-arrow';
import test from 'ava';
import {parse} from 'csv-parse/sync';
import {asyncBufferFromFile, parquetReadObjects} from 'hyparquet';
import {digits} from '../../ts/digits.ts';
import {finish, start, temporaryFolder} from './run.ts';

// `npm run test:kill` kills 50 times for each format. Two for one that is appended to and for one that is made at the end
// show that it works at all.
const kills = Number(process.env.REPVGG_KILLS) || 2;
const usual: readonly string[] = ['ndjson', 'parquet'];

const readers: Readonly<Record<string, (path: string) => Promise<string[]>>> = {
  ndjson: async path =>
    (await readFile(path, 'utf8'))
      .trimEnd()
      .split('\n')
      .map(line => (JSON.parse(line) as {id: string}).id),
  parquet: async path =>
    (await parquetReadObjects({file: await asyncBufferFromFile(path), columns: ['id']})).map(
      row => (row as {id: string}).id,
    ),
  csv: async path => (parse(await readFile(path), {columns: true}) as {id: string}[]).map(({id}) => id),
  arrow: async path => [...tableFromIPC(await readFile(path)).getChild('id')!] as string[],
};

for (const [format, read] of Object.entries(readers)) {
  if (kills <= 2 && !usual.includes(format)) continue;
  test(`${format}: SIGKILL at random points (${kills}) and --resume lose no row and double none`, async t => {
    t.timeout(30 * 60_000);
    const folder = await temporaryFolder(t);
    const images = (await readdir(digits.images)).map(name => join(digits.images, name));
    const rows = Array.from({length: 6000}, (_, i) => ({id: `row ${i}`, image: images[i % images.length]}));
    await writeFile(join(folder, 'in.ndjson'), rows.map(row => JSON.stringify(row)).join('\n'));
    const out = join(folder, `out.${format}`);
    const run = () =>
      start(['score', join(folder, 'in.ndjson'), '-c', 'digits', '--device', 'cpu', '-o', out, '--resume'], {
        timeout: 10 * 60_000,
      });
    let saved = 0;
    let killed = 0;
    for (let i = 0; i < kills; i++) {
      const child = run();
      const done = finish(child);
      const before = saved;
      // From the start of the process to some seconds into the rows.
      await new Promise(resolve => setTimeout(resolve, 300 + Math.random() * 6000));
      child.kill('SIGKILL');
      const {code, stderr} = await done;
      if (code !== null)
        t.is(code, 0, stderr); // It was quicker than the signal.
      else killed++;
      const marker = await readFile(`${out}.partial.json`, 'utf8').catch(() => undefined);
      if (marker) saved = (JSON.parse(marker) as {rows: number}).rows;
      t.true(saved >= before, `${saved} rows were saved, and ${before} before`);
    }
    const {code, stderr} = await finish(run());
    t.is(code, 0, stderr);
    t.deepEqual(
      await read(out),
      rows.map(({id}) => id),
    );
    t.deepEqual((await readdir(folder)).sort(), ['in.ndjson', `out.${format}`]);
    t.log(`${killed} of ${kills} were killed, the last with ${saved} rows saved`);
    t.true(killed > 0);
  });
}
