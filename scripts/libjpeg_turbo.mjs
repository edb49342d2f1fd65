// Builds build-libjpeg/libjpeg.a for this machine, where that has not been done.
import {buildLibjpeg} from './build_libjpeg.mjs';

buildLibjpeg(process.arch);
