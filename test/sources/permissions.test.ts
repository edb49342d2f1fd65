import {chmod, mkdir, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import {openSource} from '../../ts/sources/source.ts';
import {temporaryFolder} from '../folder.ts';

// In a file of its own, so a process of its own: root may read everything, so it becomes nobody.
const nobody = 65534;

test('a folder that may not be read is the error of its own row; the source itself ends the run', async t => {
  const root = await temporaryFolder(t);
  const [closed, tar] = [join(root, 'closed'), join(root, 'closed.tar')];
  await mkdir(closed);
  await writeFile(join(root, 'z.jpg'), '');
  await chmod(root, 0o755);
  await chmod(closed, 0);
  await writeFile(tar, '', {mode: 0});
  const user = process.geteuid!();
  if (user === 0) process.seteuid!(nobody);
  try {
    const records = [];
    for await (const record of openSource(root)) records.push(record);
    t.deepEqual(
      records.map(record => [record.id, 'error' in record && record.error.message]),
      [
        [closed, `Cannot read folder ${closed}: permission denied.`],
        [join(root, 'z.jpg'), false],
      ],
    );
    for (const [source, message] of [
      [closed, `Cannot read folder ${closed}: permission denied.`],
      [tar, `Cannot read source ${tar}: permission denied.`],
    ] as const) {
      await t.throwsAsync(
        async () => {
          for await (const _ of openSource(source)) t.fail();
        },
        {code: 'ERR_FILE_READ', message},
      );
    }
  } finally {
    process.seteuid!(user);
    await chmod(closed, 0o700);
  }
});
