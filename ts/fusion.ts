/** The inference-time statistics of a batch normalisation over C channels: y = gamma * (x - mean) / sqrt(variance + eps) + beta. */
export interface BatchNorm {
  gamma: Float32Array | Float64Array;
  beta: Float32Array | Float64Array;
  mean: Float32Array | Float64Array;
  variance: Float32Array | Float64Array;
  eps: number;
}
