// Fetches packages from Debian with apt into a separate folder. The system's packages are not touched, root is not needed, and Debian's
// signatures are verified.
import {execFileSync} from 'node:child_process';
import {existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import path from 'node:path';

const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** The package source of this machine's own release. */
function archive() {
  const suite = /^VERSION_CODENAME=(.+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  const targets = execFileSync(
    'apt-get',
    ['indextargets', '--format', '$(REPO_URI) $(RELEASE) $(COMPONENT)'],
    {
      encoding: 'utf8',
    },
  );
  const lines = targets.split('\n');
  const found = lines.find(line => line.endsWith(` ${suite} main`));
  if (!found) throw new Error(`apt has no source of packages for ${suite}.`);
  const signed = existsSync(keyring) ? `[signed-by=${keyring}] ` : '';
  // Ubuntu has nasm in "universe".
  const universe = lines.includes(found.replace(/main$/, 'universe')) ? ' universe' : '';
  return `${signed}${found}${universe}`;
}

/** Calls `use` with access to packages and a folder that is removed afterwards. Returns null, or one sentence saying what failed. */
export function withDebian(use) {
  const folder = mkdtempSync(path.join(tmpdir(), 'repvgg-debian-'));
  try {
    use(open(folder));
    return null;
  } catch (error) {
    return `${error.stderr ?? ''}`.trim().split('\n').at(-1) || error.message;
  } finally {
    rmSync(folder, {recursive: true, force: true});
  }
}

function open(folder) {
  const run = (command, ...args) =>
    execFileSync(command, args, {cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']});
  const only = pattern =>
    path.join(
      folder,
      readdirSync(folder).find(name => pattern.test(name)),
    );
  for (const part of ['lists/partial', 'cache/archives/partial'])
    mkdirSync(path.join(folder, part), {recursive: true});
  const origin = archive();
  writeFileSync(path.join(folder, 'sources.list'), `deb ${origin}\ndeb-src ${origin}\n`);
  const apt = (...args) =>
    run(
      'apt-get',
      ...['-qq', '-o', `Dir::State::lists=${folder}/lists`, '-o', `Dir::Cache=${folder}/cache`],
      ...['-o', `Dir::Etc::SourceList=${folder}/sources.list`, '-o', 'Dir::Etc::SourceParts=/dev/null'],
      ...['-o', 'APT::Sandbox::User=', '-o', 'APT::Update::Error-Mode=any'],
      ...args,
    );
  apt('update');
  return {
    folder,
    run,
    /** Unpacks binary packages into the folder `to`, without their dependencies. */
    unpack(packages, to) {
      apt('download', ...packages);
      for (const name of packages) run('dpkg-deb', '-x', only(new RegExp(`^${name}_.*\\.deb$`)), to);
    },
    /** Unpacks the original source of a package and returns its folder. */
    source(name) {
      apt('source', '--download-only', name);
      run('tar', 'xf', only(/\.orig\.tar/));
      return only(new RegExp(`^${name}-[\\d.]+$`));
    },
  };
}
