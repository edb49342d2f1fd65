import {execFile} from 'node:child_process';
import {existsSync} from 'node:fs';
import {writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import sharp from 'sharp';
import {renderReport} from '../../ts/bench/report.ts';
import {temporaryFolder} from '../cli/run.ts';
import {testWhere} from '../where.ts';
import {fullReport} from './results.ts';

const script = fileURLToPath(new URL('../../scripts/screenshot-report.mjs', import.meta.url));
const run = promisify(execFile);
const chromium = process.env.CHROMIUM ?? '/usr/bin/chromium';
const testWithChromium = testWhere(existsSync(chromium), `there is no ${chromium}, see CHROMIUM`);

testWithChromium('the report draws its charts in Chromium without a network', async t => {
  const folder = await temporaryFolder(t);
  const [page, picture] = [join(folder, 'report.html'), join(folder, 'report.png')];
  await writeFile(page, renderReport(fullReport()));
  const {stdout} = await run(process.execPath, [script, page, picture]);
  t.regex(stdout, /^5 charts drawn/); // Two of batch sizes.
  const {width, height} = await sharp(picture).metadata();
  t.is(width, 2 * 960);
  t.true(height! > 4000);
  // The colour of this package's own marks is in the picture.
  const {data} = await sharp(picture).removeAlpha().raw().toBuffer({resolveWithObject: true});
  let own = 0;
  for (let i = 0; i < data.length; i += 3)
    if (data[i] === 0xd1 && data[i + 1] === 0x49 && data[i + 2] === 0x5b) own++;
  t.true(own > 2000, `${own} pixels`);
});

testWithChromium('a page without charts fails', async t => {
  const folder = await temporaryFolder(t);
  const page = join(folder, 'report.html');
  await writeFile(page, '<p>No charts');
  await t.throwsAsync(run(process.execPath, [script, page, join(folder, 'report.png')]), {
    message: /no charts/,
  });
});

test('without Chromium there is no picture, which is a failure', async t => {
  const folder = await temporaryFolder(t);
  const env = {...process.env, CHROMIUM: join(folder, 'chromium')};
  const error = await t.throwsAsync<Error & {code: number}>(
    run(process.execPath, [script, join(folder, 'report.html'), join(folder, 'report.png')], {env}),
    {message: /No Chromium at .*; set CHROMIUM/},
  );
  t.is(error?.code, 1);
});
