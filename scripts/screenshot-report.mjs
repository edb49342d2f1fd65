// Opens a report of "repvgg bench" in headless Chromium, offline, and takes a screenshot:
//   node scripts/screenshot-report.mjs REPORT.html PICTURE.png [heading]
// of the whole page, or only of the chart below the heading. Fails if the page requests anything from a network, logs an error or draws a
// chart without marks. Needs Debian's chromium, or another one whose path is in CHROMIUM.
import {existsSync} from 'node:fs';
import {resolve} from 'node:path';
import {pathToFileURL} from 'node:url';
import {chromium} from 'playwright-core';

const [report, picture, heading] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
if (!existsSync(executablePath)) {
  console.error(`No Chromium at ${executablePath}; set CHROMIUM to use another.`);
  process.exit(1);
}
const browser = await chromium.launch({executablePath, args: ['--no-sandbox']});
try {
  const context = await browser.newContext({
    offline: true,
    deviceScaleFactor: 2,
    viewport: {width: 960, height: 800},
  });
  const page = await context.newPage();
  const problems = [];
  page.on('request', request => {
    if (!request.url().startsWith('file:')) problems.push(`requests ${request.url()}`);
  });
  page.on('console', message => {
    if (message.type() === 'error') problems.push(message.text());
  });
  page.on('pageerror', error => problems.push(error.message));
  await page.goto(pathToFileURL(resolve(report)).href);
  const charts = await page.locator('figure svg').all();
  for (const [i, chart] of charts.entries()) {
    const {width, height} = (await chart.boundingBox()) ?? {width: 0, height: 0};
    const marks = await chart.locator('circle, rect, path').count();
    if (width < 300 || height < 80 || marks < 2)
      problems.push(`chart ${i}: ${width} x ${height}, ${marks} marks`);
  }
  if (charts.length === 0) problems.push('no charts');
  if (heading) {
    const figure = page
      .locator('h2', {hasText: heading})
      .locator('xpath=following-sibling::figure[1]')
      .first();
    await figure.screenshot({path: picture});
  } else {
    await page.screenshot({path: picture, fullPage: true});
  }
  if (problems.length > 0) throw new Error(problems.join('; '));
  console.log(`${charts.length} charts drawn, picture in ${picture}`);
} finally {
  await browser.close();
}
