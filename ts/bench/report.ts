import {escapeXml} from '../support/svg.ts';
import {drawCharts} from './charts.ts';
import type {BenchReport} from './results.ts';
import {latencyTable, latencyTitle, layersTable, layersTitle, notes, resultTable} from './table.ts';

const style = `
  body {font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 900px; margin: 2rem auto; padding: 0 1rem}
  h1 {font-size: 1.6rem} h2 {font-size: 1.2rem; margin-top: 2.5rem}
  table {border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums}
  td, th {padding: 2px 10px 2px 0; border-bottom: 1px solid #eee; white-space: nowrap} .r {text-align: right} .l {text-align: left}
  figure {margin: 1rem 0} figcaption, li {font-size: 13px; color: #555}
  .table {overflow-x: auto}`;

/** A self-contained HTML page without scripts: charts first, then all numbers. */
export function renderReport(report: BenchReport): string {
  const latency = latencyTable(report.results);
  const tables = [
    tableHtml('All results', resultTable(report.results)),
    ...(latency ? [tableHtml(latencyTitle, latency)] : []),
    ...(report.layers ?? []).map(network =>
      tableHtml(`Layers: ${layersTitle(network)}`, layersTable(network)),
    ),
  ];
  const charts = drawCharts(report).map(
    ({title, caption, html}) =>
      `<h2>${escapeXml(title)}</h2>\n<figure>${html}<figcaption>${escapeXml(caption)}</figcaption></figure>`,
  );
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>repvgg bench</title>
<style>${style}</style>
<h1>repvgg ${escapeXml(report.version)}: images per second</h1>
<ul>${notes(report)
    .map(note => `<li>${escapeXml(note)}</li>`)
    .join('')}<li>${escapeXml(report.date)}</li></ul>
${charts.join('\n')}
${tables.join('\n')}
</html>
`;
}

function tableHtml(title: string, {align, rows}: {align: string; rows: string[][]}): string {
  const [head, ...body] = rows as [string[], ...string[][]];
  const row = (cells: readonly string[], tag: string): string =>
    `<tr>${cells.map((cell, i) => `<${tag} class="${align[i]}">${escapeXml(cell)}</${tag}>`).join('')}</tr>`;
  const lines = body.map(cells => row(cells, 'td')).join('');
  return `<h2>${escapeXml(title)}</h2>\n<div class="table"><table>${row(head, 'th')}${lines}</table></div>`;
}
