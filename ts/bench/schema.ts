/** The subset of JSON Schema that docs/bench-results.schema.json uses; a full validator would be the largest dependency of this package. */
export interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  type?: string | string[];
  enum?: unknown[];
  pattern?: string;
  minimum?: number;
  exclusiveMinimum?: number;
  required?: string[];
  properties?: Record<string, Schema>;
  additionalProperties?: Schema;
  items?: Schema;
  anyOf?: Schema[];
}

/** The JSON pointer of the first violation of the schema, such as "/results/2/batch"; undefined if the value is valid. */
export function mismatch(value: unknown, schema: Schema, root: Schema = schema, at = ''): string | undefined {
  if (schema.$ref) return mismatch(value, root.$defs![schema.$ref.slice('#/$defs/'.length)]!, root, at);
  const {type, anyOf, items, required = [], properties = {}, additionalProperties} = schema;
  if (anyOf?.every(option => mismatch(value, option, root, at) !== undefined)) return at;
  if (type && ![type].flat().some(name => isOfType(value, name))) return at;
  if (schema.enum && !schema.enum.includes(value)) return at;
  if (typeof value === 'string' && schema.pattern && !new RegExp(schema.pattern).test(value)) return at;
  if (typeof value === 'number') {
    if (value < (schema.minimum ?? -Infinity) || value <= (schema.exclusiveMinimum ?? -Infinity)) return at;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const missing = required.find(key => !Object.hasOwn(value, key));
  if (missing !== undefined) return `${at}/${missing}`;
  for (const [key, item] of Object.entries(value)) {
    const itemSchema = Array.isArray(value) ? items : (properties[key] ?? additionalProperties);
    const found = itemSchema && mismatch(item, itemSchema, root, `${at}/${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isOfType(value: unknown, name: string): boolean {
  if (value === null) return name === 'null';
  if (Array.isArray(value)) return name === 'array';
  return name === 'integer' ? Number.isInteger(value) : typeof value === name;
}
