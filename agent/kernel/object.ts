// Loads a compiled BPF object through the system's libbpf: maps are created (or taken from their pins), programs verified.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import koffi from 'koffi';
import { Btf, elfSection } from './btf.ts';
import { errno, KernelError, VerifierError, walkOf } from './errors.ts';
import { openPin, pin } from './bpf.ts';

let library: ReturnType<typeof bind> | undefined;

function bind() {
  const libbpf = koffi.load('libbpf.so.1');
  return {
    setPrint: libbpf.func('void *libbpf_set_print(void *print)'),
    open: libbpf.func('void *bpf_object__open_mem(const void *data, size_t size, const void *options)'),
    load: libbpf.func('int bpf_object__load(void *object)'),
    close: libbpf.func('void bpf_object__close(void *object)'),
    findMap: libbpf.func('void *bpf_object__find_map_by_name(void *object, const char *name)'),
    nextMap: libbpf.func('void *bpf_object__next_map(void *object, void *map)'),
    mapName: libbpf.func('const char *bpf_map__name(void *map)'),
    mapFd: libbpf.func('int bpf_map__fd(void *map)'),
    keySize: libbpf.func('unsigned int bpf_map__key_size(void *map)'),
    valueSize: libbpf.func('unsigned int bpf_map__value_size(void *map)'),
    maxEntries: libbpf.func('unsigned int bpf_map__max_entries(void *map)'),
    setMaxEntries: libbpf.func('int bpf_map__set_max_entries(void *map, unsigned int entries)'),
    reuse: libbpf.func('int bpf_map__reuse_fd(void *map, int fd)'),
    setPin: libbpf.func('int bpf_map__set_pin_path(void *map, const char *path)'),
    nextProgram: libbpf.func('void *bpf_object__next_program(void *object, void *program)'),
    programName: libbpf.func('const char *bpf_program__name(void *program)'),
    programFd: libbpf.func('int bpf_program__fd(void *program)'),
    logBuffer: libbpf.func('int bpf_program__set_log_buf(void *program, void *buffer, size_t size)'),
    logLevel: libbpf.func('int bpf_program__set_log_level(void *program, unsigned int level)'),
    autoload: libbpf.func('int bpf_program__set_autoload(void *program, bool autoload)'),
    attachType: libbpf.func('int bpf_program__set_expected_attach_type(void *program, int type)'),
  };
}

export interface LoadedMap { readonly name: string; readonly fd: number; readonly keySize: number; readonly valueSize: number; readonly maxEntries: number }

export interface LoadedObject {
  readonly btf: Btf;
  readonly maps: ReadonlyMap<string, LoadedMap>;
  readonly programs: ReadonlyMap<string, number>;
  readonly close: () => void;
}

export interface LoadOptions {
  /** Folder on a bpffs: maps found there are used again, others are pinned there. Absent: nothing is pinned. */
  readonly pinDir?: string;
  /** expected_attach_type by program name. */
  readonly attachTypes?: Readonly<Record<string, number>>;
  /** Programs that are not loaded. */
  readonly leave?: readonly string[];
  /** Maps of another object: those of the same name are not made anew. */
  readonly share?: LoadedObject['maps'];
  /** Rows of a map, where they are not those of the source. */
  readonly maxEntries?: Readonly<Record<string, number>>;
  /** Told what the verifier says of each program that it took: instructions, time, stack. */
  readonly statistics?: (program: string, log: string) => void;
}

const logSize = 4 << 20;
/** BPF_LOG_STATS (include/linux/bpf_verifier.h): the counts alone, without the walk. */
const logStatistics = 4;

function* pointers(next: (previous: unknown) => unknown): Generator<unknown> {
  for (let item = next(null); item !== null && item !== 0n; item = next(item)) yield item;
}

/** A signal for this process ends the verifier's walk (kernel/bpf/verifier.c, do_check): nothing is wrong with the program. */
const interruptions = 5;

export function loadObject(path: string, options: LoadOptions = {}): LoadedObject {
  for (let left = interruptions; ; left -= 1) {
    try {
      return loadOnce(path, options);
    } catch (error) {
      if (!(error instanceof KernelError) || error.errno !== errno.EAGAIN || left === 0) throw error;
    }
  }
}

function loadOnce(path: string, options: LoadOptions): LoadedObject {
  library ??= bind();
  const b = library;
  b.setPrint(null);
  const file = readFileSync(path);
  const object = b.open(file, file.length, null);
  if (object === null || object === 0n) throw new KernelError(path, 'bpf_object__open_mem', koffi.errno());
  const logs = new Map<string, Uint8Array>();
  const programs = new Map<string, unknown>();
  for (const program of pointers((previous) => b.nextProgram(object, previous))) {
    const name: string = b.programName(program);
    if (options.leave?.includes(name)) {
      b.autoload(program, false);
      continue;
    }
    programs.set(name, program);
    const log = Buffer.allocUnsafeSlow(logSize); // pages that nobody writes to cost nothing
    log[0] = 0;
    logs.set(name, log);
    b.logBuffer(program, log, log.length);
    if (options.statistics !== undefined) b.logLevel(program, logStatistics);
    const attach = options.attachTypes?.[name];
    if (attach !== undefined) b.attachType(program, attach);
  }
  const maps = [...pointers((previous) => b.nextMap(object, previous))];
  for (const map of maps) {
    const entries = options.maxEntries?.[b.mapName(map) as string];
    if (entries !== undefined) b.setMaxEntries(map, entries);
  }
  for (const map of maps) {
    const name: string = b.mapName(map);
    if (name.includes('.')) continue;
    const shared = options.share?.get(name);
    if (shared !== undefined) b.reuse(map, shared.fd);
    else if (options.pinDir !== undefined) b.setPin(map, join(options.pinDir, name));
  }
  const result: number = b.load(object);
  if (result < 0) {
    b.close(object);
    throw loadError(path, -result, logs);
  }
  for (const [name, log] of logs) options.statistics?.(name, textOf(log));
  return {
    btf: new Btf(elfSection(file, '.BTF')),
    maps: new Map(maps.map((map) => [b.mapName(map) as string,
      { name: b.mapName(map), fd: b.mapFd(map), keySize: b.keySize(map), valueSize: b.valueSize(map), maxEntries: b.maxEntries(map) }])),
    programs: new Map([...programs].map(([name, program]) => [name, b.programFd(program) as number])),
    close: () => { b.close(object); },
  };
}

const textOf = (log: Uint8Array): string => Buffer.from(log.subarray(0, log.indexOf(0))).toString();

function loadError(path: string, number: number, logs: ReadonlyMap<string, Uint8Array>): Error {
  for (const [name, log] of logs) {
    const text = textOf(log);
    if (number !== errno.EPERM && number !== errno.EAGAIN && walkOf(text).length > 0) return new VerifierError(name, text);
  }
  return new KernelError(path, 'bpf_object__load', number);
}

/** Opens what is pinned at `path`, or makes it and pins it there. */
export function pinned(path: string, make: () => number): number {
  if (existsSync(path)) return openPin(path);
  const fd = make();
  pin(fd, path);
  return fd;
}
