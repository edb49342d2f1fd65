// The public types of the package as one file, docs/api-report.md: what a change of it shows is a change for users.
// Declarations of everything that its entries export, by name, without comments. "npm run docs" writes it, and a test
// compiles it: so that what is exported needs nothing that is not.
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

What the package exports, as TypeScript declares it. \`npm run docs\` writes this file and a test compares it with the sources,
so that no change of the surface goes unseen; [api.md](api.md) explains it, and [queues.md](queues.md) the second part.

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

/** What a file exports: from another one, `export {NAME} from 'FILE'`, or of its own. */
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

/** As tsc writes it for users; `isolatedDeclarations` makes a file enough. */
function declaration(name, file) {
  const passedOn = exportsOf(file).find(passed => passed.name === name && passed.file !== file);
  if (passedOn) return declaration(name, passedOn.file);
  const source = declarations(file);
  const found = source.statements.filter(statement => nameOf(statement) === name);
  if (found.length === 0) throw new Error(`${name} is exported, but ${file} does not declare it.`);
  return found.map(node => printer.printNode(ts.EmitHint.Unspecified, withoutTwins(node), source)).join('\n');
}

/** transpileDeclaration() makes a method whose name is computed a property, too. */
function withoutTwins(node) {
  if (!ts.isClassDeclaration(node)) return node;
  const members = node.members.filter(
    member => !(ts.isPropertyDeclaration(member) && ts.isComputedPropertyName(member.name)),
  );
  const {modifiers, name, typeParameters, heritageClauses} = node;
  return ts.factory.updateClassDeclaration(node, modifiers, name, typeParameters, heritageClauses, members);
}

/** What declarations need of Node, of packages, and of the package's main entry. */
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
