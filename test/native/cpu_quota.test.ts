import {execFileSync} from 'node:child_process';
import {mkdir, writeFile} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import test from 'ava';
import {temporaryFolder} from '../folder.ts';

const root = join(import.meta.dirname, '../..');
const v1 = 'sys/fs/cgroup/cpu';

/** What the files of a system say, and the quota of its process in cores. */
const systems: Record<string, {files: Record<string, string>; quota: number}> = {
  'no cgroups': {files: {}, quota: Infinity},
  'no limit': {files: {'proc/self/cgroup': '0::/', 'sys/fs/cgroup/cpu.max': 'max 100000'}, quota: Infinity},
  'a container': {files: {'proc/self/cgroup': '0::/', 'sys/fs/cgroup/cpu.max': '250000 100000'}, quota: 2.5},
  "a service of systemd in a slice with less, whose parent's has more": {
    files: {
      'proc/self/cgroup': '0::/a.slice/b.slice/c.service',
      'sys/fs/cgroup/a.slice/cpu.max': '800000 100000',
      'sys/fs/cgroup/a.slice/b.slice/cpu.max': '300000 100000',
      'sys/fs/cgroup/a.slice/b.slice/c.service/cpu.max': '400000 100000',
    },
    quota: 3,
  },
  'version 1, where no limit is -1': {
    files: {
      'proc/self/cgroup': '2:cpu,cpuacct:/job\n1:memory:/other\n0::/',
      [`${v1}/cpu.cfs_quota_us`]: '-1',
      [`${v1}/cpu.cfs_period_us`]: '100000',
      [`${v1}/job/cpu.cfs_quota_us`]: '50000',
      [`${v1}/job/cpu.cfs_period_us`]: '100000',
    },
    quota: 0.5,
  },
  "version 1 in a container that knows its path on the host, and sees only its own cgroup as the root's": {
    files: {
      'proc/self/cgroup': '3:cpuset:/docker/17\n2:cpu,cpuacct:/docker/17',
      [`${v1}/cpu.cfs_quota_us`]: '150000',
      [`${v1}/cpu.cfs_period_us`]: '100000',
    },
    quota: 1.5,
  },
  'the quota of a cgroup that the process is not in': {
    files: {
      'proc/self/cgroup': '3:cpuset:/job\n2:cpu:/',
      [`${v1}/job/cpu.cfs_quota_us`]: '50000',
      [`${v1}/job/cpu.cfs_period_us`]: '100000',
    },
    quota: Infinity,
  },
};

test('the CPU quota is the least of the cgroups around the process', async t => {
  const folder = await temporaryFolder(t);
  const program = join(folder, 'cpu_quota');
  const sources = ['engine/usable_cores.cc', 'test/native/cpu_quota.cc'];
  execFileSync(process.env.CXX ?? 'c++', ['-std=c++20', '-I.', ...sources, '-o', program], {cwd: root});
  for (const [name, {files, quota}] of Object.entries(systems)) {
    for (const [path, text] of Object.entries(files)) {
      await mkdir(join(folder, name, dirname(path)), {recursive: true});
      await writeFile(join(folder, name, path), `${text}\n`);
    }
    const printed = execFileSync(program, [join(folder, name)], {encoding: 'utf8'});
    t.is(printed, quota === Infinity ? 'inf' : String(quota), name);
  }
});
