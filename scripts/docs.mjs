// npm run docs: generates docs/api-report.md, the README's table of speed, docs/api.md (by TypeDoc, fetched from the npm registry) and, with
// Chromium, the picture of a bench report.
import {execFileSync} from 'node:child_process';
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import path from 'node:path';
import {apiReport} from './api-report.mjs';
import {withSpeedTable} from './speed-table.mjs';

const root = path.resolve(import.meta.dirname, '..');
const build = path.join(root, 'build-docs');
const at = name => path.join(root, name);
const run = (command, ...args) => execFileSync(command, args, {cwd: root, stdio: 'inherit'});

writeFileSync(at('docs/api-report.md'), apiReport());
writeFileSync(at('README.md'), withSpeedTable(readFileSync(at('README.md'), 'utf8')));

mkdirSync(build, {recursive: true});

// Not a development dependency: those are installed far more often than this runs.
run(
  'npm',
  'install',
  '--prefix',
  build,
  '--no-save',
  'typedoc@0.28.20',
  'typedoc-plugin-markdown@4.14.1',
  'typescript@5.9.3',
);
run(
  path.join(build, 'node_modules/.bin/typedoc'),
  ...['--plugin', path.join(build, 'node_modules/typedoc-plugin-markdown/dist/index.js')],
  ...['--entryPoints', 'ts/index.ts', '--tsconfig', 'tsconfig.json', '--out', path.join(build, 'api')],
  ...[
    '--outputFileStrategy',
    'modules',
    '--readme',
    'none',
    '--name',
    'API',
    '--hidePageHeader',
    '--hideBreadcrumbs',
  ],
  ...['--disableSources', '--excludePrivate', '--excludeExternals', '--parametersFormat', 'table'],
  ...['--interfacePropertiesFormat', 'table', '--typeAliasPropertiesFormat', 'table', '--logLevel', 'Error'],
);
// TypeDoc numbers the anchor of a type whose name equals that of a value except for case; rendered pages do not.
const api = readFileSync(path.join(build, 'api/README.md'), 'utf8');
writeFileSync(at('docs/api.md'), api.replaceAll('#repvggerrorcode-1', '#repvggerrorcode'));

// Last, since it fails without Chromium.
run('npm', 'run', '--silent', 'build:ts');
const {renderReport} = await import('../dist/bench/report.js');
const results = JSON.parse(readFileSync(at('bench/results/xeon-avx512-amx-fp32-1-thread.json'), 'utf8'));
writeFileSync(path.join(build, 'report.html'), renderReport(results));
run(
  process.execPath,
  'scripts/screenshot-report.mjs',
  path.join(build, 'report.html'),
  'docs/bench-report.png',
  'Speed and accuracy',
);
