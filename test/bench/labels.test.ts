import test from 'ava';
import {type Dot, placeLabels} from '../../ts/bench/labels.ts';

const dot = (x: number, y: number, prefer: Dot['prefer'] = 'right'): Dot => ({x, y, text: 'B1g2', prefer});

test('a label is on the side that is preferred, where it covers nothing', t => {
  const anchors = (...dots: Dot[]) => placeLabels(dots, 40).map(({textAnchor, dx}) => `${textAnchor} ${dx}`);
  t.deepEqual(anchors(dot(100, 100), dot(300, 100, 'left')), ['start 7', 'end -7']);
  // B1g4 and B1g2 of the paper's figure: 12 pixels to the left, 8 higher.
  const [first, second] = anchors(dot(112, 108), dot(100, 100));
  t.is(first, 'start 7');
  t.not(second, 'start 7');
  // It would begin left of the axis.
  t.not(anchors(dot(50, 100, 'left'))[0], 'end -7');
  // ResNeXt-50 of the same figure, between RegNetX-3.2GF and ResNet-101.
  const crowd = [
    {...dot(583, 171, 'left'), text: 'RegNetX-3.2GF'},
    {...dot(602, 179)},

    {...dot(531, 200, 'left'), text: 'ResNet-101'},
    {...dot(546, 191, 'left'), text: 'ResNeXt-50'},
  ];
  t.like(placeLabels(crowd, 40).at(-1), {textAnchor: 'start', dy: 6});
  // Where everything is taken, it is somewhere all the same.
  t.is(anchors(...Array.from({length: 9}, () => dot(100, 100))).length, 9);
});
