/** What stands in for Python's objects while a pickle is interpreted: plain data, none of which can do anything. */
import type {RepVGGError} from '../errors.ts';

/** What a stand-in for a Python function may ask of the interpreter. */
export interface PickleContext {
  /** Accounts for values that a call makes beyond those on the stack, so that small pickles stay small. */
  count(values: number): void;
  /** Calls what is on the allow-list, and refuses all else. */
  call(callee: unknown, args: unknown): unknown;
  /** The error for wrong arguments. */
  corrupt(problem: string): RepVGGError;
  /** The error for what is sound, but not read. */
  unsupported(problem: string): RepVGGError;
}

/** Characters of the name of a class or function, with its module's. A small pickle could combine long ones over and over. */
export const maxNameLength = 1024;

/** A class or function that a pickle names, "module.name". It can be passed around, but nothing stands in for calling it. */
export class PythonName {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

/** A name of the allow-list. `call` stands in for the Python function; nothing of Python is ever run. */
export class PickleGlobal extends PythonName {
  readonly call: (args: readonly unknown[], context: PickleContext) => unknown;

  constructor(name: string, call: PickleGlobal['call']) {
    super(name);
    this.call = call;
  }
}

/** A value that a pickle makes empty and fills later, with the opcode BUILD. */
export interface PickleState {
  setState(state: unknown, context: PickleContext): void;
}

export function hasSetState(value: unknown): value is PickleState {
  return value instanceof Object && 'setState' in value && typeof value.setState === 'function';
}

/**
 * An object of a class that is not known here, as it would be before its `__init__`: its class's name, its attributes,
 * and its entries where it is a dict. Its class is never looked for.
 */
export class PythonObject implements PickleState {
  readonly className: string;
  attributes: ReadonlyMap<unknown, unknown> = new Map();
  readonly entries: Map<unknown, unknown> = new Map();

  constructor(className: string) {
    this.className = className;
  }

  /** The state is the object's `__dict__`, or that and its slots. */
  setState(state: unknown): void {
    const attributes = Array.isArray(state) ? state[0] : state;
    if (attributes instanceof Map) this.attributes = attributes;
  }
}

/** A number that is a key of a dict or a member of a set. */
export class NumberKey {
  readonly value: number | bigint;

  constructor(value: number | bigint) {
    this.value = value;
  }
}

/**
 * What a Python value is as a key of a Map or a member of a Set. Only texts are ever looked up. Numbers are wrapped, since
 * V8 hashes them without a secret, and of a bigint only the lowest 64 bits: a small file could make all of them collide.
 */
export function keyOf(value: unknown): unknown {
  return typeof value === 'number' || typeof value === 'bigint' ? new NumberKey(value) : value;
}

type Call = PickleGlobal['call'];

/** `dict(items)`: of pairs, as Python 2 wrote it, or of a dict. */
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

/** How protocols before 4 name a method, or a class within a class. It names a name, and does not look anything up. */
const getAttribute: Call = ([owner, attribute], context) => {
  if (typeof attribute !== 'string') throw context.corrupt('has a malformed getattr');
  const name = owner instanceof PythonName ? owner.name : owner instanceof PythonObject && owner.className;
  if (!name) throw context.corrupt('has a malformed getattr');
  if (name.length + attribute.length > maxNameLength) throw context.corrupt('has an endless name');
  return new PythonName(`${name}.${attribute}`);
};

/**
 * Values of Python's own library that stand beside the weights in training checkpoints, among their settings: dates,
 * paths, partial functions. They are kept as what they are called, without their content.
 */
const settings =
  'datetime.date datetime.datetime datetime.timedelta datetime.timezone decimal.Decimal functools.partial ' +
  'pathlib.Path pathlib.PosixPath pathlib.PurePosixPath pathlib.WindowsPath pathlib.PureWindowsPath ' +
  'pathlib._local.PosixPath pathlib._local.WindowsPath builtins.bytearray builtins.complex builtins.range builtins.slice';

/** The names of Python itself that pickles may use. */
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
