// The public types of the package as one file, docs/api-report.md: what a change of it shows is a change for users.
// Declarations of everything that ts/index.ts exports, by name, without comments. "npm run docs" writes it.
import {readFileSync} from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

const root = path.resolve(import.meta.dirname, '..');
const printer = ts.createPrinter({removeComments: true});

export function apiReport() {
  const texts = exportsOf(path.join(root, 'ts/index.ts')).map(({name, file}) => [
    name,
    declaration(name, file),
  ]);
  const sorted = texts.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text);
  return `# API report

What the package exports, as TypeScript declares it. \`npm run docs\` writes this file and a test compares it with the sources,
so that no change of the surface goes unseen; [api.md](api.md) explains it.

\`\`\`ts not compiled: declarations alone
${sorted.join('\n\n')}
\`\`\`
`;
}

/** What a file passes on, `export {NAME} from 'FILE'`, each with the file that it is from. */
function exportsOf(file) {
  const {statements} = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest);
  return statements
    .filter(statement => ts.isExportDeclaration(statement) && statement.moduleSpecifier)
    .flatMap(({exportClause, moduleSpecifier}) =>
      exportClause.elements.map(({name}) => ({
        name: name.text,
        file: path.resolve(path.dirname(file), moduleSpecifier.text),
      })),
    );
}

/** As tsc writes it for users; `isolatedDeclarations` makes a file enough. */
function declaration(name, file) {
  const passedOn = exportsOf(file).find(passed => passed.name === name);
  if (passedOn) return declaration(name, passedOn.file);
  const {outputText} = ts.transpileDeclaration(readFileSync(file, 'utf8'), {
    fileName: file,
    compilerOptions: {},
  });
  const source = ts.createSourceFile(file, outputText, ts.ScriptTarget.Latest, true);
  const found = source.statements.filter(statement => nameOf(statement) === name);
  if (found.length === 0) throw new Error(`${name} is exported, but ${file} does not declare it.`);
  return found.map(node => printer.printNode(ts.EmitHint.Unspecified, node, source)).join('\n');
}

function nameOf(statement) {
  return statement.name?.text ?? statement.declarationList?.declarations[0].name.text;
}
