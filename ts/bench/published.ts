/** Published speed and accuracy of a network. */
export interface PublishedPoint {
  model: string;
  family: 'RepVGG' | 'others';
  /** ImageNet top-1 in percent. */
  top1: number;
  /** On a GTX 1080 Ti, fp32, batch 128, 224 x 224. */
  imagesPerSecond: number;
}

/** Tables 4 and 5 of the RepVGG paper (arXiv 2101.03697), drawn in its figure 1; for B2g4, B3 and B3g4 with the longer training. */
export const paperPoints: readonly PublishedPoint[] = [
  {model: 'RepVGG-A0', family: 'RepVGG', top1: 72.41, imagesPerSecond: 3256},
  {model: 'RepVGG-A1', family: 'RepVGG', top1: 74.46, imagesPerSecond: 2339},
  {model: 'RepVGG-B0', family: 'RepVGG', top1: 75.14, imagesPerSecond: 1817},
  {model: 'RepVGG-A2', family: 'RepVGG', top1: 76.48, imagesPerSecond: 1322},
  {model: 'RepVGG-B1g4', family: 'RepVGG', top1: 77.58, imagesPerSecond: 868},
  {model: 'RepVGG-B1g2', family: 'RepVGG', top1: 77.78, imagesPerSecond: 792},
  {model: 'RepVGG-B1', family: 'RepVGG', top1: 78.37, imagesPerSecond: 685},
  {model: 'RepVGG-B2g4', family: 'RepVGG', top1: 79.38, imagesPerSecond: 581},
  {model: 'RepVGG-B2', family: 'RepVGG', top1: 78.78, imagesPerSecond: 460},
  {model: 'RepVGG-B3g4', family: 'RepVGG', top1: 80.21, imagesPerSecond: 464},
  {model: 'RepVGG-B3', family: 'RepVGG', top1: 80.52, imagesPerSecond: 363},
  {model: 'ResNet-18', family: 'others', top1: 71.16, imagesPerSecond: 2442},
  {model: 'ResNet-34', family: 'others', top1: 74.17, imagesPerSecond: 1419},
  {model: 'ResNet-50', family: 'others', top1: 76.31, imagesPerSecond: 719},
  {model: 'ResNet-101', family: 'others', top1: 77.21, imagesPerSecond: 430},
  {model: 'ResNet-152', family: 'others', top1: 77.78, imagesPerSecond: 297},
  {model: 'ResNeXt-50', family: 'others', top1: 77.46, imagesPerSecond: 484},
  {model: 'ResNeXt-101', family: 'others', top1: 78.42, imagesPerSecond: 295},
  {model: 'VGG-16', family: 'others', top1: 72.21, imagesPerSecond: 415},
  {model: 'EfficientNet-B0', family: 'others', top1: 75.11, imagesPerSecond: 829},
  {model: 'EfficientNet-B3', family: 'others', top1: 79.31, imagesPerSecond: 224},
  {model: 'RegNetX-3.2GF', family: 'others', top1: 77.98, imagesPerSecond: 671},
  {model: 'RegNetX-12GF', family: 'others', top1: 80.55, imagesPerSecond: 277},
];

/** From the README of the official repository: D2se at 320 x 320; RepVGGplus trained at 256, tested at 320. */
const otherAccuracies: Record<string, number> = {'RepVGG-D2se': 83.55, 'RepVGGplus-L2pse': 84.06};

/** The published ImageNet top-1 accuracy of a variant in percent; undefined for B2g2 and B3g2. */
export function publishedTop1(model: string): number | undefined {
  return paperPoints.find(point => point.model === model)?.top1 ?? otherAccuracies[model];
}
