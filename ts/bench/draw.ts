import domino from '@mixmark-io/domino';
import * as Plot from '@observablehq/plot';
import {escapeXml} from '../support/svg.ts';
import type {BenchResult} from './results.ts';

/** A chart of the report. */
export interface Chart {
  title: string;
  caption: string;
  /** HTML with SVGs, which needs neither scripts nor a network. */
  html: string;
}

export const width = 860;
const document = domino.createDocument('');
/** This package's series, always in the same colour. */
export const ourColour = '#d1495b';
const peerColours = ['#2e6f95', '#6a994e', '#8367c7', '#bc6c25', '#577590'];

export function draw(options: Plot.PlotOptions): string {
  const style = {background: 'white', color: '#222', fontSize: '12px'};
  return Plot.plot({document, width, style, marginBottom: 42, ...options}).outerHTML;
}

export const seriesOf = ({runner, precision}: BenchResult): string => `${runner} ${precision}`;

export interface Colours {
  domain: string[];
  range: string[];
}

/** The legend of a chart. Plot's own needs parts of the DOM that domino lacks. */
export function legend({domain, range}: Colours): string {
  const entries = domain.map(
    (name, i) =>
      `<span style="white-space: nowrap"><b style="color: ${range[i]}">●</b> ${escapeXml(name)}</span>`,
  );
  return `<p style="font-size: 13px; margin: 0">${entries.join(' &ensp; ')}</p>`;
}

export function colours(results: readonly BenchResult[]): Colours {
  const domain = [...new Set(results.map(seriesOf))].sort(
    (a, b) => Number(b.startsWith('repvgg')) - Number(a.startsWith('repvgg')) || a.localeCompare(b),
  );
  let next = 0;
  const range = domain.map(name =>
    name.startsWith('repvgg') ? ourColour : peerColours[next++ % peerColours.length]!,
  );
  return {domain, range};
}

export const shortName = (model: string): string => model.replace('RepVGG-', '');

/** 0.2, 30, 4k. The standard format would write 0.2 as "200m". */
export const shortNumber = (value: number): string => (value < 1000 ? `${value}` : `${value / 1000}k`);
