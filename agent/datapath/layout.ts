// A fingerprint of every layout and number that user space and the programs share: maps that were pinned under another one
// cannot be read, even where their rows have the same size.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Btf, elfSection } from '../kernel/btf.ts';

const rows = ['control', 'endpoint', 'ipcache_key', 'ipcache_value', 'policy', 'bounds', 'step', 'class_line', 'ct_key', 'ct_entry', 'usage', 'nat_key', 'nat_value', 'translation_key', 'translation', 'fragment_key', 'fragment_value', 'netdev', 'overlay', 'flow_record', 'drop_count', 'rule_key', 'rule_count', 'proxy_key', 'proxy', 'proxy_listener', 'proxy_worker', 'proxy_listening', 'proxy_share', 'proxy_use', 'proxy_turn',
  'frontend_key', 'frontend', 'backend', 'service_control', 'service_client', 'netns_question', 'sock_peer_key', 'sock_peer', 'affinity_key', 'affinity', 'source_range_key',
  'work', 'dns_work', 'dns_automaton', 'dns_control', 'dns_name', 'dns_short_name', 'dns_use', 'dns_address_key', 'dns_address', 'dns_usage', 'dns_waiting', 'dns_slot', 'dns_record', 'dns_by_tcp'];

export function layoutOf(objectPath: string): string {
  const btf = new Btf(elfSection(readFileSync(objectPath), '.BTF'));
  const enums = btf.enums().map(({ name, values }) => [name, [...values]]);
  return createHash('sha256').update(JSON.stringify([rows.map((name) => btf.struct(name)), enums])).digest('hex').slice(0, 32);
}
