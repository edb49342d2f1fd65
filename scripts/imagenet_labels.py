"""Writes assets/imagenet.txt, the classes of ImageNet-1k in their usual order, from the lists in timm."""

from importlib.util import find_spec
from pathlib import Path

INFO = Path(find_spec('timm').origin).parent / 'data' / '_info'
OUT = Path(__file__).resolve().parent.parent / 'assets' / 'imagenet.txt'

synsets = (INFO / 'imagenet_synsets.txt').read_text().split()
lemmas = dict(line.split('\t') for line in (INFO / 'imagenet_synset_to_lemma.txt').read_text().splitlines())
OUT.write_text(''.join(f'{synset} {lemmas[synset]}\n' for synset in synsets))
