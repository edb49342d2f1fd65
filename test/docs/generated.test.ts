import {execFileSync} from 'node:child_process';
import {existsSync} from 'node:fs';
import test from 'ava';
import {apiReport} from '../../scripts/api-report.mjs';
import {withSpeedTable} from '../../scripts/speed-table.mjs';
import {pages, readPage} from './blocks.ts';

// It takes the compiler seconds.
const report = apiReport();
const refresh =
  'run "npm run docs" and look at what changed: removing or narrowing what is exported breaks users';

test('docs/api-report.md has what the package exports', t => {
  t.is(readPage('docs/api-report.md'), report, refresh);
});

test('docs/api.md has a heading for everything that the main entry exports', t => {
  const [main = ''] = report.split('## repvgg/bullmq');
  const exported = Array.from(
    main.matchAll(/^export .*?(?:class|function|interface|type|const) (\w+)/gm),
    ([, name]) => name!,
  );
  t.true(exported.length > 30);
  const headings = new Set(Array.from(readPage('docs/api.md').matchAll(/^### (\w+)/gm), ([, name]) => name!));
  t.deepEqual(
    exported.filter(name => !headings.has(name)),
    [],
    refresh,
  );
});

test("the README's table of speed is that of the committed results", t => {
  t.is(readPage('README.md'), withSpeedTable(readPage('README.md')), 'run "npm run docs"');
});

test('every link of a page in the package leads to what is in the package', t => {
  const root = new URL('../../', import.meta.url);
  const pack = ['pack', '--dry-run', '--json', '--ignore-scripts'];
  const listing = execFileSync('npm', pack, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [{files}] = JSON.parse(listing) as [{files: {path: string}[]}];
  const packed = files.map(({path}) => path);
  let links = 0;
  for (const page of packed.filter(path => path.endsWith('.md'))) {
    for (const [, target = ''] of readPage(page).matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g)) {
      const path = new URL(target, new URL(page, 'file:///')).pathname.slice(1).replace(/\/$/, '');
      t.true(
        packed.some(file => file === path || file.startsWith(`${path}/`)),
        `${page} links to ${target}`,
      );
      links++;
    }
  }
  t.true(links > 100);
});

test('every link between pages leads somewhere', t => {
  // What is there already gets a number.
  const headings = (page: string): string[] => {
    const times = new Map<string, number>();
    return Array.from(readPage(page).matchAll(/^#+ (.+)$/gm), ([, title]) => {
      const plain = anchor(title!);
      const before = times.get(plain) ?? 0;
      times.set(plain, before + 1);
      return before === 0 ? plain : `${plain}-${before}`;
    });
  };
  for (const page of [...pages(), 'SECURITY.md', 'CHANGELOG.md']) {
    for (const [, target = ''] of readPage(page).matchAll(/\]\((?!https?:)([^)\s]+)\)/g)) {
      const url = new URL(target, new URL(page, 'file:///'));
      const file = url.pathname.slice(1);
      t.true(existsSync(new URL(`../../${file}`, import.meta.url)), `${page} links to ${target}`);
      if (url.hash && file.endsWith('.md')) {
        const anchors = Array.from(readPage(file).matchAll(/<a id="([^"]+)"/g), ([, id]) => id);
        t.true(
          [...headings(file), ...anchors].includes(url.hash.slice(1)),
          `${page} links to ${target}, which is no heading`,
        );
      }
    }
  }
});

test('docs/README.md lists every page', t => {
  const listed = readPage('docs/README.md');
  for (const page of pages()) {
    if (page !== 'README.md' && page !== 'docs/README.md') {
      t.true(listed.includes(`(${page.startsWith('docs/') ? page.slice(5) : `../${page}`})`), page);
    }
  }
});

/** As GitHub makes it of a heading. */
function anchor(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\w\s-]/g, '')
    .replace(/ /g, '-');
}
