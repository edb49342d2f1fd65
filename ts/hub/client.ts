/** What is used of the hub's own client. The build puts it here (scripts/bundle.mjs), so that users install nothing for it. */
export {HubApiError, modelInfo, pathsInfo} from '@huggingface/hub';
