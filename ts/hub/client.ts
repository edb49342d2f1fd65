/** The parts of the hub's client that are used. The build bundles them (scripts/bundle.mjs), so it is not a dependency. */
export {modelInfo, pathsInfo} from '@huggingface/hub';
