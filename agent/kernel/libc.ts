// The C library by koffi: the few calls that Node lacks. Everything else in this folder stands on these.
import koffi from 'koffi';
import { KernelError } from './errors.ts';

const libc = koffi.load('libc.so.6');

const c = {
  syscall: libc.func('long syscall(long number, long a, _Inout_ void *b, long c)'),
  mmap: libc.func('void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)'),
  munmap: libc.func('int munmap(void *address, size_t length)'),
  setns: libc.func('int setns(int fd, int type)'),
  unshare: libc.func('int unshare(int flags)'),
  mount: libc.func('int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)'),
  umount: libc.func('int umount2(const char *target, int flags)'),
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  bind: libc.func('int bind(int fd, const void *address, unsigned int length)'),
  send: libc.func('long send(int fd, const void *data, size_t length, int flags)'),
  recv: libc.func('long recv(int fd, _Out_ void *data, size_t length, int flags)'),
  flock: libc.func('int flock(int fd, int operation)'),
  getsockopt: libc.func('int getsockopt(int fd, int level, int name, _Out_ void *value, _Inout_ unsigned int *length)'),
  setsockopt: libc.func('int setsockopt(int fd, int level, int name, const void *value, unsigned int length)'),
};

/** bpf(2)'s number on the machines that weir runs on. */
const bpfNumber = process.arch === 'arm64' ? 280 : 321;

const check = (result: number | bigint, object: string, operation: string): number => {
  if (Number(result) < 0) throw new KernelError(object, operation, koffi.errno());
  return Number(result);
};

/** Arrays whose addresses stand in the attributes of the next bpf(2): the collector sees no use of them there, and must not take them before it is over. */
const held: Uint8Array[] = [];

/** The address of a Uint8Array for a __u64 field of the next bpf(2)'s attributes. */
export function addressOf(bytes: Uint8Array): bigint {
  held.push(bytes);
  return BigInt(koffi.address(bytes as never) as bigint);
}

/** bpf(2); `attributes` is a union bpf_attr (linux/bpf.h) and may be written to. */
export function bpf(command: number, attributes: Uint8Array, object: string, name: string): number {
  const result: number | bigint = c.syscall(bpfNumber, command, attributes, attributes.length);
  held.length = 0;
  return check(result, object, `bpf(${name})`);
}

/** As `bpf`, but on a worker thread: for what waits for a grace period. */
export function bpfAsync(command: number, attributes: Uint8Array, object: string, name: string): Promise<number> {
  const holding = [attributes, ...held.splice(0)];
  return new Promise((resolve, reject) => {
    c.syscall.async(bpfNumber, command, attributes, attributes.length, (error: Error | null, result: number) => {
      holding.length = 0;
      if (error) reject(error);
      else if (Number(result) < 0) reject(new Error(`${object}: bpf(${name}) failed`)); // errno stays on that thread
      else resolve(Number(result));
    });
  });
}

/** bpf(2) for which "no such row" and the like are answers: the negative errno instead of an exception. */
export function bpfRaw(command: number, attributes: Uint8Array): number {
  const result = Number(c.syscall(bpfNumber, command, attributes, attributes.length));
  held.length = 0;
  return result < 0 ? -koffi.errno() : result;
}

export const protection = { read: 1, write: 2 };

export interface Mapping { readonly buffer: ArrayBuffer; readonly unmap: () => void }

/** Maps `length` bytes of a file descriptor, shared; the buffer must not be used after `unmap`. */
export function mmap(fd: number, length: number, flags: number, offset: number, object: string): Mapping {
  const pointer: bigint = c.mmap(null, length, flags, 1 /* MAP_SHARED */, fd, offset);
  if (BigInt.asIntN(64, pointer) === -1n) throw new KernelError(object, 'mmap', koffi.errno());
  return {
    buffer: koffi.view(pointer, length) as ArrayBuffer,
    unmap: () => { check(c.munmap(pointer, length), object, 'munmap'); },
  };
}

/** Waits for the lock of an open file; the kernel lets go of it when the file is closed, also by a kill -9. */
export const lockFile = (fd: number, path: string): void => { check(c.flock(fd, 2 /* LOCK_EX */), path, 'flock'); };

export const setns = (fd: number, object: string): void => { check(c.setns(fd, 0), object, 'setns'); };

/** The calling thread alone. */
export const unshare = (flags: number, object: string): void => { check(c.unshare(flags), object, 'unshare'); };

export const mount = (source: string, target: string, type: string, flags: number, data: string): void => {
  check(c.mount(source, target, type, flags, data), `${type} on ${target}`, 'mount');
};

/** At once, whoever still uses it. */
export const unmount = (target: string): void => { check(c.umount(target, 2 /* MNT_DETACH */), target, 'umount2'); };

export const socket = {
  open: (domain: number, type: number, protocol: number): number => check(c.socket(domain, type, protocol), `socket of family ${domain}`, 'socket'),
  option: (fd: number, level: number, name: number, value: Uint8Array): void => {
    check(c.setsockopt(fd, level, name, value, value.length), `option ${name}`, 'setsockopt');
  },
  readOption: (fd: number, level: number, name: number, value: Uint8Array): void => {
    check(c.getsockopt(fd, level, name, value, [value.length]), `option ${name}`, 'getsockopt');
  },
  bind: (fd: number, address: Uint8Array): void => { check(c.bind(fd, address, address.length), 'socket', 'bind'); },
  send: (fd: number, data: Uint8Array): void => { check(c.send(fd, data, data.length, 0), 'socket', 'send'); },
  /** Bytes received; blocks as the socket's timeout says. */
  receive: (fd: number, data: Uint8Array): number => check(c.recv(fd, data, data.length, 0), 'socket', 'recv'),
};
