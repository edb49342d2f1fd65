import {readFile} from 'node:fs/promises';
import {fileError, RepVGGError} from '../errors.ts';
import type {ClassLabel} from '../labels.ts';

/** The classes by their synsets and names. A name of two classes, such as "crane", is not among them. */
export function classesByName(labels: readonly ClassLabel[]): Map<string, number> {
  const byName = new Map<string, number>();
  const ambiguous = new Set<string>();
  for (const [index, {label}] of labels.entries()) {
    if (byName.has(label)) ambiguous.add(label);
    byName.set(label, index);
  }
  for (const label of ambiguous) byName.delete(label);
  for (const [index, {synset}] of labels.entries()) if (synset) byName.set(synset, index);
  return byName;
}

/** The class that a number, a synset or a name means. */
export function classNumbers(labels: readonly ClassLabel[]): (name: string) => number | undefined {
  const byName = classesByName(labels);
  return name => {
    const named = byName.get(name);
    if (named !== undefined) return named;
    const number = /^\d{1,9}$/.test(name) ? Number(name) : labels.length;
    return number < labels.length ? number : undefined;
  };
}

/**
 * Reads a list of classes, one a line: numbers, synsets or names.
 *
 * @throws {RepVGGError} ERR_DATASET, ERR_FILE_NOT_FOUND, ERR_FILE_READ
 */
export async function readClasses(path: string, labels: readonly ClassLabel[]): Promise<Set<number>> {
  const text = await readFile(path, 'utf8').catch(cause => {
    throw fileError(`read classes ${path}`, cause);
  });
  const fail = (problem: string): RepVGGError =>
    new RepVGGError('ERR_DATASET', `Cannot read classes ${path}: ${problem}.`);
  const numberOf = classNumbers(labels);
  const classes = new Set<number>();
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    const name = line.trim();
    if (name === '') continue;
    const index = numberOf(name);
    if (index === undefined)
      throw fail(`line ${i + 1} has ${JSON.stringify(name.slice(0, 40))}, which is no class of the network`);
    classes.add(index);
  }
  if (classes.size === 0) throw fail('it is empty');
  return classes;
}
