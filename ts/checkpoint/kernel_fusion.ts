import {fuseInTurns, fuseRows} from '../fusion/fuse_rows.ts';
import type {BlockFactors} from '../fusion/fusion.ts';
import type {TensorInfo} from './checkpoint.ts';

/** Fuses the kernels of blocks, with the results of {@link fuseRows}. */
export interface KernelFusion {
  /**
   * @param index index of the block
   * @param dense the 3x3 kernels, [outChannels][inChannels / groups][3][3]
   * @param pointwise [outChannels][inChannels / groups]
   * @throws errors of reading the tensors; the signal's reason
   */
  fuse(
    index: number,
    dense: TensorInfo,
    pointwise: TensorInfo,
    factors: BlockFactors,
    signal?: AbortSignal | undefined,
  ): Promise<FusedKernels>;
}

export interface FusedKernels {
  /** In the layout of the 3x3 kernels. Empty if they were written to the network directly. */
  weight: Float32Array;
  /** As returned by {@link fuseRows}. */
  finite: boolean;
}

/** Fusion in TypeScript, without the addon. */
export const plainFusion: KernelFusion = {
  async fuse(_index, dense, pointwise, factors, signal) {
    const points = await pointwise.read();
    const values = await dense.read();
    const weight = values instanceof Float32Array ? values : new Float32Array(values.length);
    return {weight, finite: await fuseInTurns(weight, values, points, factors, {signal})};
  },
};
