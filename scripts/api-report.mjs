// The public types of the package as one file, docs/api-report.md: what a change of it shows is a change for users.
// Declarations of everything that ts/index.ts exports, by name, without comments. "npm run docs" writes it.
import {readFileSync} from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

const root = path.resolve(import.meta.dirname, '..');

export function apiReport() {
  const index = path.join(root, 'ts/index.ts');
  const {config} = ts.readConfigFile(path.join(root, 'tsconfig.json'), ts.sys.readFile);
  const {options} = ts.parseJsonConfigFileContent(config, ts.sys, root);
  const program = ts.createProgram([index], options);
  const checker = program.getTypeChecker();
  const printer = ts.createPrinter({removeComments: true});
  const declarations = new Map(); // by file: what tsc would write, parsed

  const declarationsOf = file => {
    if (!declarations.has(file)) {
      const {outputText} = ts.transpileDeclaration(readFileSync(file, 'utf8'), {
        fileName: file,
        compilerOptions: options,
      });
      declarations.set(file, ts.createSourceFile(file, outputText, ts.ScriptTarget.Latest, true));
    }
    return declarations.get(file);
  };
  const nameOf = statement => statement.name?.text ?? statement.declarationList?.declarations[0].name.text;

  const texts = checker
    .getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(index)))
    .map(exported => {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
      const file = declarationsOf(symbol.declarations[0].getSourceFile().fileName);
      const found = file.statements.filter(statement => nameOf(statement) === symbol.name);
      if (found.length === 0)
        throw new Error(`${exported.name} is exported, but ${file.fileName} does not declare it.`);
      return [
        exported.name,
        found.map(node => printer.printNode(ts.EmitHint.Unspecified, node, file)).join('\n'),
      ];
    });
  const sorted = texts.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text);
  return `# API report

What the package exports, as TypeScript declares it. \`npm run docs\` writes this file and a test compares it with the sources,
so that no change of the surface goes unseen; [api.md](api.md) explains it.

\`\`\`ts not run: declarations
${sorted.join('\n\n')}
\`\`\`
`;
}
