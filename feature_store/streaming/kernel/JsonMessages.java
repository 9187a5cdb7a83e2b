package featurestore;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.util.HashMap;
import java.util.Map;

/** Messages that are JSON objects. Strict: a value of another type than its column's is an error, never a NULL. */
final class JsonMessages implements EventParser.MessageFormat {
    private static final JsonFactory JSON = new JsonFactory();

    private final ParserSpec spec;
    private final Map<String, Integer> columns = new HashMap<>();
    private final long microseconds;

    JsonMessages(ParserSpec spec) {
        this.spec = spec;
        for (int i = 0; i < spec.names.length; i++) {
            columns.put(spec.names[i], i);
        }
        microseconds = spec.timeFormat.equals("ms") ? 1000 : 1;
    }

    @Override
    public Object[] read(byte[] payload) throws MalformedException {
        Object[] values = new Object[spec.names.length];
        MalformedException[] problems = new MalformedException[values.length];
        try (JsonParser json = JSON.createParser(payload)) {
            if (json.nextToken() != JsonToken.START_OBJECT) {
                throw new MalformedException("not a JSON object");
            }
            for (String name = json.nextFieldName(); name != null; name = json.nextFieldName()) {
                Integer column = columns.get(name);
                json.nextToken();
                if (column == null) {
                    json.skipChildren();
                } else {
                    readInto(values, problems, column, json);
                }
            }
            if (json.currentToken() != JsonToken.END_OBJECT || json.nextToken() != null) {
                throw new MalformedException("not a JSON object");
            }
        } catch (IOException error) {
            throw new MalformedException("not a JSON object");
        }
        for (MalformedException problem : problems) {
            if (problem != null) {
                throw problem;
            }
        }
        return values;
    }

    /** Of fields of the same name the last one counts, be it wrong or right. */
    private void readInto(Object[] values, MalformedException[] problems, int column, JsonParser json)
            throws IOException {
        values[column] = null;
        problems[column] = null;
        try {
            values[column] = json.currentToken() == JsonToken.VALUE_NULL ? null : value(column, json);
        } catch (MalformedException problem) {
            problems[column] = problem;
        }
        json.skipChildren();
    }

    private Object value(int column, JsonParser json) throws IOException, MalformedException {
        JsonToken token = json.currentToken();
        String name = spec.names[column];
        switch (spec.types[column]) {
            case STRING:
                if (token == JsonToken.VALUE_STRING) {
                    return unicode(json.getText(), name);
                }
                break;
            case BOOL:
                if (token.isBoolean()) {
                    return token == JsonToken.VALUE_TRUE;
                }
                break;
            case FLOAT:
                if (token.isNumeric()) {
                    return Partial.finite(Double.parseDouble(json.getText()));
                }
                break;
            case INT:
                if (token == JsonToken.VALUE_NUMBER_INT) {
                    return whole(json, "column '" + name + "': a number that does not fit 64 bits");
                }
                break;
            case TIMESTAMP:
                if (!spec.timeFormat.equals("iso") && token == JsonToken.VALUE_NUMBER_INT) {
                    String problem = "column '" + name + "': an instant outside the years 1 to 9999";
                    return Instants.scaled(whole(json, problem), microseconds, 0, name);
                }
                if (spec.timeFormat.equals("iso") && token == JsonToken.VALUE_STRING) {
                    return Instants.parseIso(json.getText(), name);
                }
                break;
        }
        String problem = kind(token) + " where " + spec.types[column] + " is needed";
        throw new MalformedException("column '" + name + "': " + problem);
    }

    private static long whole(JsonParser json, String problem) throws IOException, MalformedException {
        if (json.getNumberType() == JsonParser.NumberType.BIG_INTEGER) {
            throw new MalformedException(problem);
        }
        return json.getLongValue();
    }

    /** JSON can escape half of a surrogate pair, which no UTF-8 text can hold. */
    private static String unicode(String text, String name) throws MalformedException {
        for (int i = 0; i < text.length(); i++) {
            char unit = text.charAt(i);
            if (Character.isSurrogate(unit)) {
                boolean pair = i + 1 < text.length() && Character.isSurrogatePair(unit, text.charAt(i + 1));
                if (!pair) {
                    throw new MalformedException("column '" + name + "': a text that is not Unicode");
                }
                i++;
            }
        }
        return text;
    }

    private static String kind(JsonToken token) {
        return switch (token) {
            case VALUE_STRING -> "text";
            case VALUE_NUMBER_INT -> "a whole number";
            case VALUE_NUMBER_FLOAT -> "a fractional number";
            case VALUE_TRUE, VALUE_FALSE -> "true or false";
            case START_ARRAY -> "an array";
            default -> "an object";
        };
    }
}
