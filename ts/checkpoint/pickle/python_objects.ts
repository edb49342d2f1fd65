/** Stand-ins for Python objects while a pickle is interpreted: inert data. */
import type {RepVGGError} from '../../errors.ts';

/** What a stand-in for a Python function may use of the interpreter. */
export interface PickleContext {
  /** Counts values that a call creates besides its result, so that small pickles cannot grow large. */
  count(values: number): void;
  /** Calls a function that is on the allow-list, and refuses any other. */
  call(callee: unknown, args: unknown): unknown;
  /** Builds the error for malformed arguments. */
  corrupt(problem: string): RepVGGError;
  /** Builds the error for valid content that is not supported. */
  unsupported(problem: string): RepVGGError;
}

/** Characters of a qualified name. A small pickle could combine long ones over and over. */
export const maxNameLength = 1024;

/** A class or function that a pickle names, "module.name". It can be passed around but not called. */
export class PythonName {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

/** A name on the allow-list. `call` stands in for the Python function; no Python code is ever run. */
export class PickleGlobal extends PythonName {
  readonly call: (args: readonly unknown[], context: PickleContext) => unknown;

  constructor(name: string, call: PickleGlobal['call']) {
    super(name);
    this.call = call;
  }
}

/** A value that is created empty and filled later, by the opcode BUILD. */
export interface PickleState {
  setState(state: unknown, context: PickleContext): void;
}

export function hasSetState(value: unknown): value is PickleState {
  return value instanceof Object && 'setState' in value && typeof value.setState === 'function';
}

/**
 * An object of an unknown class, as it is before `__init__`: its class's name, its attributes, and its entries if it is a
 * dict. The class is never looked up.
 */
export class PythonObject implements PickleState {
  readonly className: string;
  attributes: ReadonlyMap<unknown, unknown> = new Map();
  readonly entries: Map<unknown, unknown> = new Map();

  constructor(className: string) {
    this.className = className;
  }

  /** The state is the object's `__dict__`, or a pair of that and its slots. */
  setState(state: unknown): void {
    const attributes = Array.isArray(state) ? state[0] : state;
    if (attributes instanceof Map) this.attributes = attributes;
  }
}

/** A number as a key of a dict or a member of a set. */
export class NumberKey {
  readonly value: number | bigint;

  constructor(value: number | bigint) {
    this.value = value;
  }
}

/**
 * A Python value as a key of a Map or a member of a Set. Numbers are wrapped, since V8 hashes them without a secret seed
 * (and only the lowest 64 bits of a bigint), so a small file could make all of them collide. Only strings are looked up.
 */
export function keyOf(value: unknown): unknown {
  return typeof value === 'number' || typeof value === 'bigint' ? new NumberKey(value) : value;
}

type Call = PickleGlobal['call'];

/** `dict(items)`, from pairs, as Python 2 wrote it, or from a dict. */
const makeDict: Call = ([items], context) => {
  if (items === undefined) return new Map();
  if (items instanceof Map) {
    context.count(items.size);
    return new Map(items);
  }
  if (!Array.isArray(items)) throw context.corrupt('has a malformed dict');
  context.count(items.length);
  return new Map(
    items.map(pair => {
      if (Array.isArray(pair) && pair.length === 2) return [keyOf(pair[0]), pair[1] as unknown];
      throw context.corrupt('has a malformed dict');
    }),
  );
};

const makeSet: Call = (args, context) => new Set(listOf(args, context).map(keyOf));
const makeList: Call = (args, context) => [...listOf(args, context)];

function listOf([items = []]: readonly unknown[], context: PickleContext): unknown[] {
  if (!Array.isArray(items)) throw context.corrupt('has a malformed list');
  context.count(items.length);
  return items;
}

/** `copyreg._reconstructor(class, base, state)` and `copyreg.__newobj__(class, ...)`. */
const makeObject: Call = ([callee, ...args], context) => {
  if (callee instanceof PickleGlobal) return callee.call(args, context);
  if (callee instanceof PythonName) return new PythonObject(callee.name);
  throw context.corrupt('makes an object without a class');
};

/** Protocols before 4 name methods and nested classes by getattr. Only names are joined; nothing is looked up. */
const getAttribute: Call = ([owner, attribute], context) => {
  if (typeof attribute !== 'string') throw context.corrupt('has a malformed getattr');
  const name = owner instanceof PythonName ? owner.name : owner instanceof PythonObject && owner.className;
  if (!name) throw context.corrupt('has a malformed getattr');
  if (name.length + attribute.length > maxNameLength) throw context.corrupt('has an endless name');
  return new PythonName(`${name}.${attribute}`);
};

/**
 * Standard library types that occur in the settings of training checkpoints: dates, paths, partial functions. Only their
 * names are kept. `xrange` is what Python 3 calls a range in protocol 2, that of torch.save.
 */
const settings =
  'datetime.date datetime.datetime datetime.time datetime.timedelta datetime.timezone decimal.Decimal ' +
  'functools.partial types.SimpleNamespace pathlib.Path pathlib.PosixPath pathlib.PurePosixPath pathlib.WindowsPath ' +
  'pathlib.PureWindowsPath pathlib._local.PosixPath pathlib._local.WindowsPath ' +
  'builtins.bytearray builtins.complex builtins.range builtins.xrange builtins.slice';

/** The names of the standard library that pickles may call. */
export const pythonGlobals: readonly PickleGlobal[] = [
  new PickleGlobal('collections.OrderedDict', makeDict),
  new PickleGlobal('collections.Counter', makeDict),
  new PickleGlobal('collections.defaultdict', () => new Map()),
  new PickleGlobal('collections.deque', makeList),
  new PickleGlobal('builtins.dict', makeDict),
  new PickleGlobal('builtins.list', makeList),
  new PickleGlobal('builtins.tuple', makeList),
  new PickleGlobal('builtins.set', makeSet),
  new PickleGlobal('builtins.frozenset', makeSet),
  new PickleGlobal('builtins.getattr', getAttribute),
  new PickleGlobal('copyreg._reconstructor', makeObject),
  new PickleGlobal('copyreg.__newobj__', makeObject),
  ...settings.split(' ').map(name => new PickleGlobal(name, () => new PythonObject(name))),
];
