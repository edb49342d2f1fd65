import type {RawImage} from '../../ts/images/images.ts';
import {RepVGG} from '../../ts/model.ts';
import type {ScoreInput} from '../../ts/scoring/score.ts';

export const load = (options = {}): Promise<RepVGG> =>
  RepVGG.load('digits', {batchSize: 8, device: 'cpu', ...options});

/** A grey image that is different for each number. */
export const raw = (n: number): RawImage => ({
  data: Uint8Array.from({length: 64}, (_, i) => (n * 31 + i * 7) % 256),
  width: 8,
  height: 8,
  channels: 1,
});

export async function* records(count: number): AsyncGenerator<ScoreInput> {
  for (let i = 0; i < count; i++) yield {id: `image ${i}`, image: raw(i)};
}
