import {readdirSync, readFileSync} from 'node:fs';

/** A fenced block of the documentation. */
export interface Block {
  /** "docs/cli.md:20" */
  at: string;
  /** The first word of the fence: "ts", "sh", "console", "text", ... */
  language: string;
  /** What follows it: "not run: REASON", "numbers vary", "output", or nothing. */
  note: string;
  text: string;
}

const root = new URL('../../', import.meta.url);

/** README.md, CONTRIBUTING.md and the pages of docs/. */
export function pages(): string[] {
  const docs = readdirSync(new URL('docs/', root)).filter(name => name.endsWith('.md'));
  return ['README.md', 'CONTRIBUTING.md', ...docs.sort().map(name => `docs/${name}`)];
}

export function readPage(page: string): string {
  return readFileSync(new URL(page, root), 'utf8');
}

/** Every fenced block, in order. */
export function blocks(): Block[] {
  return pages().flatMap(page => {
    const text = readPage(page);
    return Array.from(text.matchAll(/^( *)```(\S*) *(.*)\n([\s\S]*?)^\1```$/gm), match => {
      const [, indent = '', language = '', note = '', body = ''] = match;
      return {
        at: `${page}:${text.slice(0, match.index).split('\n').length}`,
        language: language || 'text',
        note,
        text: prelude(page, body) + body.replace(new RegExp(`^${indent}`, 'gm'), ''),
      };
    });
  });
}

/** The examples of docstrings, which docs/api.md has, leave out what everybody knows by then. */
function prelude(page: string, example: string): string {
  if (page !== 'docs/api.md') return '';
  const names = ['RepVGG', 'openSource'].filter(name => example.includes(name) || name === 'RepVGG');
  const model = /\bmodel =/.test(example) ? '' : "const model = await RepVGG.load('digits');\n";
  return `import {${names.join(', ')}} from 'repvgg';\n${model}`;
}
