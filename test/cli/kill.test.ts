import {readdir, readFile, rm, stat, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
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
    const partial = `${out}.partial`;
    const run = () =>
      start(['score', join(folder, 'in.ndjson'), '-c', 'digits', '--device', 'cpu', '-o', out, '--resume'], {
        timeout: 10 * 60_000,
      });
    const marker = async (): Promise<{rows: number; complete: boolean} | undefined> =>
      JSON.parse(await readFile(`${partial}.json`, 'utf8').catch(() => 'null'));
    const checkComplete = async (): Promise<void> => {
      t.deepEqual(
        await read(out),
        rows.map(({id}) => id),
      );
      t.deepEqual((await readdir(folder)).sort(), ['in.ndjson', `out.${format}`]);
      await rm(out);
    };
    const moments = {start: 0, rows: 0, end: 0};
    let saved = 0;
    let [attempts, killed, completed] = [0, 0, 0];
    while (killed < kills) {
      const child = run();
      const done = finish(child);
      const before = saved;
      const isRunning = (): boolean => child.exitCode === null;
      const moment = attempts++ % 5; // Not of those that were killed: a short moment may be missed.
      if (moment === 0) {
        await sleep(Math.random() * 3000); // From the start of the process on.
      } else if (moment === 4) {
        // While the output is made of its rows and takes its name.
        while (isRunning() && !(await marker())?.complete) await sleep(5);
        await sleep(Math.random() * 100);
      } else {
        const written = await sizeOf(partial);
        while (isRunning() && (await sizeOf(partial)) === written) await sleep(5);
        await sleep(Math.random() * 1500);
      }
      child.kill('SIGKILL');
      const {code, stderr} = await done;
      const left = await marker();
      const isComplete = !left && (await sizeOf(out)) > 0;
      if (code === null) {
        killed++;
        saved = isComplete ? rows.length : (left?.rows ?? 0);
        t.true(saved >= before, `${saved} rows were saved, and ${before} before`);
        moments[saved === 0 ? 'start' : saved === rows.length ? 'end' : 'rows']++;
      } else {
        t.is(code, 0, stderr); // It was quicker than the signal.
      }
      if (!isComplete) continue;
      await checkComplete();
      completed++;
      saved = 0; // The next run begins again.
    }
    const {code, stderr} = await finish(run());
    t.is(code, 0, stderr);
    await checkComplete();
    completed++;
    t.log(
      `killed before the first rows were saved, after, and after the last:`,
      moments,
      `${completed} outputs`,
    );
  });
}

/** In bytes; 0 where there is none. */
async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}
