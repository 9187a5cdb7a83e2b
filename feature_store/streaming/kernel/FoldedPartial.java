package featurestore;

import java.util.ArrayList;
import java.util.List;
import java.util.function.LongSupplier;

/**
 * What a feature's tiles add up to that were folded into the base. Where it grows with its rows, the newest part lies
 * in the entity's head, and the others in slots of their own, each of them larger than the next: so a tile that is
 * folded is written again only a few times, however much there is.
 */
final class FoldedPartial {
    private static final int HEAD_BYTES = 1024;

    private final Spec spec;
    private final int measure;
    private final KernelState state;
    private final LongSupplier slots;
    private Partial newest;
    /** The largest, and oldest, first. */
    private final List<Layer> layers = new ArrayList<>();

    /** A part in a slot, and its bytes. */
    private record Layer(long slot, int weight) {}

    /** Of no rows; `slots` gives numbers of slots that nothing lies in. */
    FoldedPartial(Spec spec, int measure, KernelState state, LongSupplier slots) {
        this.spec = spec;
        this.measure = measure;
        this.state = state;
        this.slots = slots;
        newest = Partial.of(spec, measure);
    }

    void merge(Partial rows) {
        newest.merge(rows);
    }

    void mergeInto(Partial rows) throws Exception {
        for (Layer layer : layers) {
            rows.merge(load(layer));
        }
        rows.merge(newest);
    }

    /** Forgets all rows. */
    void clear() throws Exception {
        newest = Partial.of(spec, measure);
        for (Layer layer : layers) {
            state.remove(layer.slot);
        }
        layers.clear();
    }

    void write(ByteWriter out) throws Exception {
        ByteWriter head = written(newest);
        if (head.size() > HEAD_BYTES) {
            moveToSlot(head);
            newest = Partial.of(spec, measure);
            head = written(newest);
        }
        out.raw(head.data(), 0, head.size());
        out.unsigned(layers.size());
        for (Layer layer : layers) {
            out.unsigned(layer.slot);
            out.unsigned(layer.weight);
        }
    }

    /** Becomes what was written; in the former format all of it is in the head. */
    void read(ByteReader in, boolean layered) {
        newest.read(in, 0);
        for (long left = layered ? in.unsigned() : 0; left > 0; left--) {
            layers.add(new Layer(in.unsigned(), (int) in.unsigned()));
        }
    }

    /** Makes a layer of the newest part, together with the layers that are not larger. */
    private void moveToSlot(ByteWriter head) throws Exception {
        ByteWriter moved = head;
        while (!layers.isEmpty() && layers.get(layers.size() - 1).weight <= moved.size()) {
            Layer larger = layers.remove(layers.size() - 1);
            newest.merge(load(larger));
            state.remove(larger.slot);
            moved = written(newest);
        }
        Layer layer = new Layer(slots.getAsLong(), moved.size());
        state.put(layer.slot, moved.toBytes());
        layers.add(layer);
    }

    private Partial load(Layer layer) throws Exception {
        Partial found = Partial.of(spec, measure);
        found.read(new ByteReader(state.get(layer.slot), 0), 0);
        return found;
    }

    private static ByteWriter written(Partial partial) {
        ByteWriter out = new ByteWriter();
        partial.write(out, 0);
        return out;
    }
}
