// What Envoy did with one request or connection, as its access log says it: agent/envoy reads the log, the observer makes flows of it.

export interface ProxyAccess {
  /** Key of the rule set that judged it. */
  readonly ruleSet: string;
  readonly direction: 'ingress' | 'egress';
  /** Which rule of the set allowed it; undefined: none did. */
  readonly rule: number | undefined;
  readonly startUnixNs: bigint;
  readonly durationNs: bigint;
  /** As the client sees the connection. */
  readonly source: { readonly address: string; readonly port: number };
  readonly destination: { readonly address: string; readonly port: number };
  /** Of Envoy's own connection to the destination; 0: there was none. */
  readonly upstreamPort: number;
  readonly http?: HttpAccess;
  /** TLS that was not opened: the name that the client asked for. */
  readonly sni?: string;
  /** Refused by the rules. */
  readonly denied: boolean;
  /** Response flags in Envoy's letters: UF, DC. */
  readonly flags: string;
}

export interface HttpAccess {
  readonly method: string;
  readonly scheme: string;
  readonly authority: string;
  /** With the query. */
  readonly path: string;
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2';
  /** 0: no response began. */
  readonly code: number;
  /** Names in lower case. */
  readonly requestHeaders: readonly (readonly [name: string, value: string])[];
  readonly requestBytes: number;
  readonly responseBytes: number;
  /** headerMatches that did not hold, and let the request pass all the same. */
  readonly mismatched: readonly string[];
}
