// Layouts from BTF: what is encoded reads back, byte order and padding as C has them.
import { readFileSync } from 'node:fs';
import { beforeAll, expect, test } from '@jest/globals';
import { buildBpf, objectPath } from '../../bpf/build.ts';
import type { CtKey, FlowRecord, IpcacheValue } from '../../bpf/types.gen.ts';
import { Btf, elfSection } from './btf.ts';
import { codecOf } from './codec.ts';

let btf: Btf;
beforeAll(() => {
  buildBpf();
  btf = new Btf(elfSection(readFileSync(objectPath), '.BTF'));
});

test('network order becomes host order, arrays of bytes stand as they are', () => {
  const codec = codecOf<FlowRecord>(btf.struct('flow_record'));
  const bytes = new Uint8Array(codec.size);
  const member = (name: string): number => btf.struct('flow_record').members.find((one) => one.name === name)!.offset;
  bytes.set([0x1f, 0x90], member('dport'));
  bytes.set([1, 2, 3, 4, 5, 6], member('smac'));
  bytes.set([0xff, 0xff, 10, 0, 0, 1], member('saddr') + 10);
  const record = codec.decode(new DataView(bytes.buffer), 0);
  expect([record.dport, [...record.smac], [...record.saddr.word.subarray(10)]]).toEqual([8080, [1, 2, 3, 4, 5, 6], [0xff, 0xff, 10, 0, 0, 1]]);
  expect(codec.encode(record)).toEqual(bytes);
});

test('nested structs in arrays', () => {
  const codec = codecOf<IpcacheValue>(btf.struct('ipcache_value'));
  const row: IpcacheValue = { peer: [{ identity: 1, class_id: 2 }, { identity: 3, class_id: 4 }], since: 5, ifindex: 6, flags: 7, node: { word: new Uint8Array([8, ...new Array<number>(15).fill(0)]) } };
  expect(codec.decode(new DataView(codec.encode(row).buffer), 0)).toEqual(row);
  expect([...new Uint32Array(codec.encode(row).buffer)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0]);
});

test('fields that are absent are zero', () => {
  const codec = codecOf<CtKey>(btf.struct('ct_key'));
  expect(codec.encode({ protocol: 6 } as CtKey).reduce((sum, byte) => sum + byte, 0)).toBe(6);
});

test.each([
  ['a file that is no ELF', () => elfSection(new Uint8Array(64), '.BTF'), 'not an ELF file'],
  ['a section that is not there', () => elfSection(readFileSync(objectPath), '.nothing'), 'no section .nothing'],
  ['a section that is no BTF', () => new Btf(new Uint8Array(64)), 'bad magic'],
  ['a struct that is not there', () => btf.struct('nobody'), 'no struct nobody'],
])('%s', (_, work, message) => { expect(work).toThrow(message); });
