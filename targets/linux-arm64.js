// `repvgg` for bundlers: the same exports, with the addon from a literal path instead of one that is looked for.
import {loadAddonWith} from '../dist/native/load_addon.js';
import load from './linux-arm64.cjs';

loadAddonWith(load);

export * from '../dist/index.js';
