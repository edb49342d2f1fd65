import {invalidArgument} from '../errors.ts';

/** A model on the Hugging Face hub. */
export interface HubModel {
  /** "owner/name" */
  name: string;
  /** A branch, a tag or a commit. */
  revision: string;
}

/** The hub's rule for names, and an optional revision after "@". */
const pattern = /^([\w-][\w.-]{0,95}\/[\w-][\w.-]{0,95})(?:@([\w.-][\w./-]*))?$/;
/** Extensions of files: a path with one slash would otherwise look like an id. */
const fileName =
  /\.(pth|pt|bin|tar|gz|tgz|pkl|pickle|ckpt|safetensors|onnx|zip|json|pdparams|distcp|h5|npz|npy)$/i;

export function isHubId(text: string): boolean {
  return pattern.test(text) && !fileName.test(text) && !text.includes('..');
}

/** @throws {RepVGGError} ERR_INVALID_ARGUMENT */
export function hubModel(text: string): HubModel {
  const [, name, revision = 'main'] = (isHubId(text) && pattern.exec(text)) || [];
  if (name === undefined) throw invalidArgument('the model', '"owner/name" or "owner/name@revision"', text);
  return {name, revision};
}
