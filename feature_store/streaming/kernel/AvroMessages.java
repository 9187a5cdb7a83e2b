package featurestore;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.avro.Schema;

/**
 * Messages that are one Avro record each, in the binary encoding of the writer's schema. Decoded here instead of by
 * Avro's readers because these believe the lengths in a broken message, and allocate what it claims.
 */
final class AvroMessages implements EventParser.MessageFormat {
    private static final String BROKEN = "not an Avro record of the schema";
    private static final int DEEPEST = 64;

    private final ParserSpec spec;
    private final List<Schema.Field> fields;
    /** Column of each field of the record; -1 for those that are not read. */
    private final int[] columns;

    AvroMessages(ParserSpec spec) {
        this.spec = spec;
        fields = new Schema.Parser().parse(spec.avroSchema).getFields();
        columns = new int[fields.size()];
        for (int i = 0; i < columns.length; i++) {
            columns[i] = List.of(spec.names).indexOf(fields.get(i).name());
        }
    }

    @Override
    public Object[] read(byte[] payload) throws MalformedException {
        Object[] values = new Object[spec.names.length];
        Cursor cursor = new Cursor(payload);
        MalformedException problem = null;
        for (int i = 0; i < columns.length; i++) {
            Schema schema = fields.get(i).schema();
            Object value = cursor.value(schema, 0);
            if (columns[i] >= 0 && value != null) {
                try {
                    values[columns[i]] = converted(value, schema, columns[i]);
                } catch (MalformedException mistyped) {
                    problem = problem == null ? mistyped : problem;
                }
            }
        }
        if (cursor.position != payload.length) {
            throw new MalformedException(BROKEN);
        }
        if (problem != null) {
            throw problem;
        }
        return values;
    }

    private Object converted(Object value, Schema schema, int column) throws MalformedException {
        String name = spec.names[column];
        switch (spec.types[column]) {
            case STRING:
                if (value instanceof String) {
                    return value;
                }
                break;
            case BOOL:
                if (value instanceof Boolean) {
                    return value;
                }
                break;
            case FLOAT:
                if (value instanceof Number) {
                    return Partial.finite(((Number) value).doubleValue());
                }
                break;
            case INT:
                if (value instanceof Long) {
                    return value;
                }
                break;
            case TIMESTAMP:
                if (value instanceof Long) {
                    return Instants.scaled((Long) value, unit(schema), 0, name);
                }
                break;
        }
        throw new MalformedException("column '" + name + "': " + value.getClass().getSimpleName() + " where "
                + spec.types[column] + " is needed");
    }

    /** Microseconds of one unit of a time: its logical type says it, or else the source's time format. */
    private long unit(Schema schema) {
        List<Schema> kinds = schema.getType() == Schema.Type.UNION ? schema.getTypes() : List.of(schema);
        for (Schema kind : kinds) {
            String logical = kind.getProp("logicalType");
            if (logical != null) {
                return logical.equals("timestamp-millis") ? 1000 : 1;
            }
        }
        return spec.timeFormat.equals("ms") ? 1000 : 1;
    }

    /** A place in a message. What is not a scalar is passed over and gives an empty Object. */
    private static final class Cursor {
        private static final Object PASSED_OVER = new Object();

        private final byte[] data;
        private int position;

        Cursor(byte[] data) {
            this.data = data;
        }

        Object value(Schema schema, int depth) throws MalformedException {
            if (depth > DEEPEST) {
                throw new MalformedException(BROKEN);
            }
            switch (schema.getType()) {
                case NULL:
                    return null;
                case BOOLEAN:
                    return bool();
                case INT:
                case LONG:
                    return number();
                case FLOAT:
                    return (double) Float.intBitsToFloat((int) littleEndian(4));
                case DOUBLE:
                    return Double.longBitsToDouble(littleEndian(8));
                case STRING:
                    return text(length());
                case ENUM:
                    return chosen(schema.getEnumSymbols());
                case UNION:
                    return value(chosen(schema.getTypes()), depth + 1);
                case BYTES:
                    advance(length());
                    return PASSED_OVER;
                case FIXED:
                    advance(schema.getFixedSize());
                    return PASSED_OVER;
                case ARRAY:
                    blocks(schema.getElementType(), false, depth);
                    return PASSED_OVER;
                case MAP:
                    blocks(schema.getValueType(), true, depth);
                    return PASSED_OVER;
                default:
                    for (Schema.Field field : schema.getFields()) {
                        value(field.schema(), depth + 1);
                    }
                    return PASSED_OVER;
            }
        }

        private void blocks(Schema items, boolean keyed, int depth) throws MalformedException {
            for (long count = number(); count != 0; count = number()) {
                if (count < 0) {
                    advance(length());
                    continue;
                }
                if (count > data.length) {
                    throw new MalformedException(BROKEN);
                }
                for (; count > 0; count--) {
                    if (keyed) {
                        advance(length());
                    }
                    value(items, depth + 1);
                }
            }
        }

        private <T> T chosen(List<T> options) throws MalformedException {
            long index = number();
            if (index < 0 || index >= options.size()) {
                throw new MalformedException(BROKEN);
            }
            return options.get((int) index);
        }

        private int length() throws MalformedException {
            long length = number();
            if (length < 0 || length > data.length - position) {
                throw new MalformedException(BROKEN);
            }
            return (int) length;
        }

        private int advance(int count) throws MalformedException {
            if (count > data.length - position) {
                throw new MalformedException(BROKEN);
            }
            position += count;
            return position - count;
        }

        private boolean bool() throws MalformedException {
            byte value = data[advance(1)];
            if (value != 0 && value != 1) {
                throw new MalformedException(BROKEN);
            }
            return value == 1;
        }

        private long number() throws MalformedException {
            long value = 0;
            for (int shift = 0; shift < 64; shift += 7) {
                byte next = data[advance(1)];
                value |= (long) (next & 0x7F) << shift;
                if (next >= 0) {
                    return (value >>> 1) ^ -(value & 1);
                }
            }
            throw new MalformedException(BROKEN);
        }

        private long littleEndian(int bytes) throws MalformedException {
            int start = advance(bytes);
            long value = 0;
            for (int i = bytes - 1; i >= 0; i--) {
                value = value << 8 | data[start + i] & 0xFF;
            }
            return value;
        }

        private String text(int length) throws MalformedException {
            int start = advance(length);
            try {
                return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(data, start, length)).toString();
            } catch (CharacterCodingException error) {
                throw new MalformedException(BROKEN);
            }
        }
    }
}
