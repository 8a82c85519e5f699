import { assert } from '../error/errors.ts';
import { REPEAT_MAX, type TraceTrigger } from '../format/trace-format.ts';
import type { SimulatedGuest } from './simulated-guest.ts';
import { Step, type TraceReader } from './trace-reader.ts';

/** Sees what a trace does to the pages, before the guest's pager does. */
export interface ReplayObserver {
  /** A reference of the program, or a page of a host function's range. */
  onReference(page: number, writes: boolean): void;
  /** A first write to a page that was referenced to be read. */
  onWrite(page: number): void;
  /** The pager has been asked for a page, or for a range. */
  onFault(): void;
  onCheckpoint(trigger: TraceTrigger, stateBytes: number): void;
}

/** Makes a guest do what a trace says, from its beginning to its end. */
export function replay(reader: TraceReader, guest: SimulatedGuest, observer: ReplayObserver): void {
  const recent = new Int32Array(REPEAT_MAX);
  let references = 0;
  for (;;) {
    switch (reader.next()) {
      case Step.end:
        return;
      case Step.reference: {
        if (reader.pinsChanged) {
          guest.setPins(reader.pins);
          reader.pinsChanged = false;
        }
        const { page, crosses, writes } = reader;
        observer.onReference(page, writes);
        if (crosses) observer.onReference(page + 1, writes);
        if (guest.refer(page, crosses, writes)) observer.onFault();
        recent[references++ % REPEAT_MAX] = page * 4 + (crosses ? 2 : 0) + (writes ? 1 : 0);
        break;
      }
      case Step.raise:
        observer.onWrite(reader.eventPage);
        guest.raise(reader.eventPage, reader.noted);
        break;
      case Step.zero:
        guest.setZeros(reader.eventPage, reader.zeros);
        break;
      case Step.repeat:
        assert(references >= reader.count, 'more references repeat themselves than there were');
        guest.repeat(recent, references - reader.count, reader.count);
        break;
      case Step.hold:
        guest.setPins(reader.pins);
        for (let page = reader.address >>> 12; page <= (reader.address + reader.lengthBytes - 1) >>> 12; page++) {
          observer.onReference(page, reader.writes);
        }
        guest.hold(reader.address, reader.lengthBytes, reader.writes);
        observer.onFault();
        break;
      case Step.release:
        guest.release();
        break;
      case Step.grow:
        guest.grow(reader.pageCount);
        break;
      case Step.checkpoint:
        observer.onCheckpoint(reader.trigger, reader.stateBytes);
        break;
    }
  }
}
