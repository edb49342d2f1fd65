// Generates docs/api-report.md: the declarations of everything that the package's entries export, sorted by name, without comments. A
// change to it is a change for users. "npm run docs" writes it. A test compiles it, which shows that exported types use no unexported ones.
import {execFileSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const entries = {repvgg: 'index.ts', 'repvgg/bullmq': 'bullmq.ts'};

export function apiReport() {
  const folder = mkdtempSync(path.join(tmpdir(), 'repvgg-api-'));
  try {
    emitDeclarations(folder);
    return `# API report

The TypeScript declarations of everything that the package exports. \`npm run docs\` writes this file, and a test compares it with the
sources, so that no change of the API goes unnoticed. [api.md](api.md) explains the first part, [queues.md](queues.md) the second.

${Object.keys(entries)
  .map(name => section(name, folder))
  .join('\n')}`;
  } finally {
    rmSync(folder, {recursive: true});
  }
}

function emitDeclarations(folder) {
  const options = ['--emitDeclarationOnly', '--removeComments', '--sourceMap', 'false', '--outDir', folder];
  const tsc = path.join(root, 'node_modules/.bin/tsc');
  execFileSync(tsc, ['-p', path.join(root, 'tsconfig.build.json'), ...options], {stdio: 'inherit'});
}

function section(name, folder) {
  const exported = exportsOf(path.join(folder, entries[name]));
  const body = exported
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({texts}) => texts.join('\n'))
    .join('\n\n');
  const ofMain = name === 'repvgg' ? [] : exportsOf(path.join(folder, entries.repvgg)).map(one => one.name);
  const imports = importsOf(new Set(exported.map(({file}) => file)), body, new Set(ofMain));
  return `## ${name}

\`\`\`ts not run: declarations alone
${[...imports, ...(imports.length > 0 ? [''] : []), body].join('\n')}
\`\`\`
`;
}

/** The exports of a file with their declarations, one for each overload: its own, and those of `export {NAME} from 'FILE'`. */
function exportsOf(file) {
  const found = new Map();
  for (const statement of statementsOf(file)) {
    const passedOn = /^export (?:type )?\{(.*)\} from '(.*)';$/s.exec(statement);
    const own = /^export (?:declare )?(?:class|function|interface|type|const) (\w+)/.exec(statement);
    if (passedOn) {
      const names = new Set(namesIn(passedOn[1]));
      const from = exportsOf(path.resolve(path.dirname(file), passedOn[2]));
      for (const one of from) if (names.delete(one.name)) found.set(one.name, one);
      if (names.size > 0) throw new Error(`${passedOn[2]} does not declare ${[...names].join(', ')}.`);
    } else if (own) {
      const texts = [...(found.get(own[1])?.texts ?? []), statement];
      found.set(own[1], {name: own[1], file, texts});
    }
  }
  return [...found.values()];
}

/** The imports that the declarations need from Node, from packages and from this package's main entry. */
function importsOf(files, body, ofMain) {
  const names = new Map();
  for (const statement of [...files].flatMap(statementsOf)) {
    const [, list, module] = /^import .*\{(.*)\} from '(.*)';$/s.exec(statement) ?? [];
    for (const name of namesIn(list ?? '')) {
      if (!new RegExp(`\\b${name}\\b`).test(body)) continue;
      const from = module.startsWith('.') ? ofMain.has(name) && 'repvgg' : module;
      if (from) names.set(from, new Set([...(names.get(from) ?? []), name]));
    }
  }
  return [...names]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([module, found]) => `import type {${[...found].sort().join(', ')}} from '${module}';`);
}

/** Of what the compiler emits, a statement begins where a line begins with a letter. */
function statementsOf(file) {
  const text = readFileSync(file.replace(/\.ts$/, '.d.ts'), 'utf8');
  return text.split(/^(?=[a-z])/m).map(statement => statement.trimEnd());
}

function namesIn(list) {
  return list
    .split(',')
    .map(name => name.replace('type ', '').trim())
    .filter(Boolean);
}
