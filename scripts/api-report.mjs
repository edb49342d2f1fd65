// Generates docs/api-report.md: the declarations of everything that the package's entries export, sorted by name, without comments. A
// change to it is a change for users. "npm run docs" writes it. A test compiles it, which shows that exported types use no unexported ones.
import {readFileSync} from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

const root = path.resolve(import.meta.dirname, '..');
const printer = ts.createPrinter({removeComments: true});
const entries = {repvgg: 'ts/index.ts', 'repvgg/bullmq': 'ts/bullmq.ts'};

export function apiReport() {
  const sections = Object.entries(entries).map(
    ([name, file]) => `## ${name}

\`\`\`ts not run: declarations alone
${report(path.join(root, file))}
\`\`\`
`,
  );
  return `# API report

The TypeScript declarations of everything that the package exports. \`npm run docs\` writes this file, and a test compares it with the
sources, so that no change of the API goes unnoticed. [api.md](api.md) explains the first part, [queues.md](queues.md) the second.

${sections.join('\n')}`;
}

function report(entry) {
  const exported = exportsOf(entry);
  const texts = exported.map(({name, file}) => [name, declaration(name, file)]);
  const body = texts
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, text]) => text)
    .join('\n\n');
  const imports = importsOf(new Set(exported.map(({file}) => file)), body, entry);
  return [...imports, ...(imports.length > 0 ? [''] : []), body].join('\n');
}

/** The exports of a file: its own, and those of `export {NAME} from 'FILE'`. */
function exportsOf(file) {
  return parse(file).statements.flatMap(statement => {
    if (ts.isExportDeclaration(statement) && statement.moduleSpecifier) {
      const from = path.resolve(path.dirname(file), statement.moduleSpecifier.text);
      return statement.exportClause.elements.map(({name}) => ({name: name.text, file: from}));
    }
    const isExported = statement.modifiers?.some(({kind}) => kind === ts.SyntaxKind.ExportKeyword);
    return isExported ? [{name: nameOf(statement), file}] : [];
  });
}

/** The declaration as tsc emits it; thanks to `isolatedDeclarations`, one file is enough. */
function declaration(name, file) {
  const passedOn = exportsOf(file).find(passed => passed.name === name && passed.file !== file);
  if (passedOn) return declaration(name, passedOn.file);
  const source = declarations(file);
  const found = source.statements.filter(statement => nameOf(statement) === name);
  if (found.length === 0) throw new Error(`${name} is exported, but ${file} does not declare it.`);
  return found.map(node => printer.printNode(ts.EmitHint.Unspecified, withoutTwins(node), source)).join('\n');
}

/** Removes the duplicate property that transpileDeclaration() emits for a method with a computed name. */
function withoutTwins(node) {
  if (!ts.isClassDeclaration(node)) return node;
  const members = node.members.filter(
    member => !(ts.isPropertyDeclaration(member) && ts.isComputedPropertyName(member.name)),
  );
  const {modifiers, name, typeParameters, heritageClauses} = node;
  return ts.factory.updateClassDeclaration(node, modifiers, name, typeParameters, heritageClauses, members);
}

/** The imports that the declarations need from Node, from packages and from this package's main entry. */
function importsOf(files, body, entry) {
  const main = path.join(root, entries.repvgg);
  const ofMain = new Set(entry === main ? [] : exportsOf(main).map(({name}) => name));
  const names = new Map();
  for (const statement of [...files].flatMap(file => parse(file).statements)) {
    if (!ts.isImportDeclaration(statement)) continue;
    const module = statement.moduleSpecifier.text;
    for (const {name} of statement.importClause?.namedBindings?.elements ?? []) {
      if (!new RegExp(`\\b${name.text}\\b`).test(body)) continue;
      const from = module.startsWith('.') ? ofMain.has(name.text) && 'repvgg' : module;
      if (from) names.set(from, new Set([...(names.get(from) ?? []), name.text]));
    }
  }
  return [...names]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([module, found]) => `import type {${[...found].sort().join(', ')}} from '${module}';`);
}

const parse = once(file => ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest));
const declarations = once(file => {
  const text = readFileSync(file, 'utf8');
  const {outputText} = ts.transpileDeclaration(text, {fileName: file, compilerOptions: {}});
  return ts.createSourceFile(file, outputText, ts.ScriptTarget.Latest, true);
});

function once(make) {
  const made = new Map();
  return file => {
    if (!made.has(file)) made.set(file, make(file));
    return made.get(file);
  };
}

function nameOf(statement) {
  return statement.name?.text ?? statement.declarationList?.declarations[0].name.text;
}
