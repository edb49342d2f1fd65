export {
  type Architecture,
  type ArchitectureOptions,
  architectureByName,
  architectureNames,
  type BlockShape,
  blockShapes,
  defineArchitecture,
  type SqueezeExcite,
  type SqueezeExcitePosition,
} from './architecture.ts';
export type {OnnxValue} from './checkpoint/onnx/write_graph.ts';
export type {OnnxSignature} from './checkpoint/onnx/write_onnx.ts';
export {type Conversion, type ConvertOptions, convertCheckpoint} from './convert.ts';
export {RepVGGError, type RepVGGErrorCode} from './errors.ts';
export {exportOnnx, type OnnxExport, type OnnxExportOptions} from './export.ts';
export type {RunOptions} from './images/fetch_image.ts';
export type {ImageInput, RawImage} from './images/images.ts';
export {type ClassLabel, imageNetLabels} from './labels.ts';
export type {Calibration} from './loading/calibration.ts';
export type {LoadOptions} from './loading/load_network.ts';
export {type ClassifyOptions, RepVGG} from './model.ts';
export type {Winograd} from './native/addon.ts';
export type {Device, DeviceList, DeviceName, Precision} from './native/device.ts';
export type {Form} from './network.ts';
export type {Interpolation, Preprocessing, PreprocessingOptions} from './preprocessing.ts';
export {type ScoreFileOptions, type ScoreFileSummary, scoreToFile} from './score_file.ts';
export type {Prediction} from './scoring/predictions.ts';
export type {ScoreInput, ScoreOptions, ScoreSummary, Scores} from './scoring/score.ts';
export type {
  EmbeddingRow,
  FailedRow,
  LabelRow,
  LogitsRow,
  RowHead,
  ScoreOutput,
  ScoreRow,
  ScoreTiming,
} from './scoring/score_row.ts';
export type {ScoreDuplex, ScoreTransformStream} from './scoring/score_streams.ts';
export {type SourceFormat, type SourceOptions, sourceFormats} from './sources/options.ts';
export type {SourceRecord, UnreadableRecord} from './sources/record.ts';
export {openSource} from './sources/source.ts';
export {type Counts, type LayerStatistics, layerTable, type NetworkStatistics} from './statistics.ts';
export {type Verification, type VerifyOptions, verifyCheckpoint} from './verify.ts';
