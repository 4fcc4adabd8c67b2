//! Parquet in and out, byte for byte reproducible, and typed columns with errors that name what is missing.

use std::{fs::File, io::BufWriter, path::Path};

use polars::prelude::{
    ChunkedArray, Column, DataFrame, DataType, Float32Type, Float64Type, ListBuilderTrait, ListChunked,
    ListPrimitiveChunkedBuilder, NamedFrom, NumericNative, ParallelStrategy, ParquetCompression, ParquetReader,
    ParquetWriter, PolarsNumericType, SerReader, Series, StatisticsOptions, StringChunked, UInt32Type,
};

use crate::base::error::{At, Error, IoAt, Result};

/// Rows of a row group. Fixed, because the grouping is part of the file's bytes.
const ROW_GROUP: usize = 1 << 16;

/// A column of strings.
pub fn string_column<S: AsRef<str>>(name: &str, values: &[S]) -> Column {
    let strings: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
    Series::new(name.into(), strings).into()
}

/// A column of strings in which some are missing.
pub fn opt_string_column<S: AsRef<str>>(name: &str, values: &[Option<S>]) -> Column {
    let strings: Vec<Option<&str>> = values.iter().map(|v| v.as_ref().map(AsRef::as_ref)).collect();
    Series::new(name.into(), strings).into()
}

/// A column of unsigned integers.
pub fn u32_column(name: &str, values: &[u32]) -> Column {
    Series::new(name.into(), values).into()
}

/// A column of floats.
pub fn f32_column(name: &str, values: &[f32]) -> Column {
    Series::new(name.into(), values).into()
}

/// A column of doubles.
pub fn f64_column(name: &str, values: &[f64]) -> Column {
    Series::new(name.into(), values).into()
}

/// A column of doubles in which some are missing.
pub fn opt_f64_column(name: &str, values: &[Option<f64>]) -> Column {
    Series::new(name.into(), values).into()
}

/// A column of lists of unsigned integers, such as token ids.
pub fn u32_list_column<L: AsRef<[u32]>>(name: &str, lists: &[L]) -> Column {
    list_column::<UInt32Type, L>(name, lists, DataType::UInt32)
}

/// A column of lists of floats, such as one score for each label.
pub fn f32_list_column<L: AsRef<[f32]>>(name: &str, lists: &[L]) -> Column {
    list_column::<Float32Type, L>(name, lists, DataType::Float32)
}

fn list_column<T: PolarsNumericType, L: AsRef<[T::Native]>>(name: &str, lists: &[L], inner: DataType) -> Column {
    let values = lists.iter().map(|l| l.as_ref().len()).sum();
    let mut builder = ListPrimitiveChunkedBuilder::<T>::new(name.into(), lists.len(), values, inner);
    for list in lists {
        builder.append_slice(list.as_ref());
    }
    Series::from(builder.finish()).into()
}

/// Writes columns of one length as a Parquet file. The same columns give the same bytes on every machine: no compression
/// (whose output depends on the library's version), fixed row groups, no metadata beyond the schema.
///
/// # Errors
/// If the columns differ in length, or the file can't be written.
pub fn write_parquet(path: &Path, columns: Vec<Column>) -> Result<()> {
    let height = columns.first().map_or(0, Column::len);
    let mut frame = DataFrame::new(height, columns).at(path.display())?;
    let file = BufWriter::new(File::create(path).io_at("create", path)?);
    ParquetWriter::new(file)
        .with_compression(ParquetCompression::Uncompressed)
        .with_statistics(StatisticsOptions::empty())
        .with_row_group_size(Some(ROW_GROUP))
        .set_parallel(false)
        .finish(&mut frame)
        .map_err(|e| match e {
            polars::error::PolarsError::IO { error, .. } => Error::io("write", path, &error),
            e => Error::from(e).at(path.display()),
        })?;
    Ok(())
}

/// Reads a Parquet file, rows in the file's order.
///
/// # Errors
/// If the file can't be opened, or isn't Parquet.
pub fn read_parquet(path: &Path) -> Result<DataFrame> {
    let file = File::open(path).io_at("open", path)?;
    ParquetReader::new(file).read_parallel(ParallelStrategy::None).finish().map_err(|e| {
        Error::input(format!("{}: not a readable Parquet file: {e}", path.display()))
            .help("the file may be cut short; remove it and run the stage that made it again")
    })
}

fn column<'a>(frame: &'a DataFrame, name: &str, dtype: &DataType) -> Result<&'a Column> {
    let column = frame.column(name).map_err(|_| {
        let have: Vec<_> = frame.get_column_names().into_iter().map(|n| n.as_str()).collect();
        Error::input(format!("no column `{name}`; the table has: {}", have.join(", ")))
    })?;
    if column.dtype() != dtype {
        return Err(Error::input(format!("column `{name}` holds {:?} where {dtype:?} is needed", column.dtype())));
    }
    Ok(column)
}

fn missing(name: &str, row: usize) -> Error {
    Error::input(format!("column `{name}` has no value in row {row}"))
}

/// All strings of a column; an error where one is missing.
///
/// # Errors
/// If there is no such column, or if it is of another type; where a value is missing, with its row.
pub fn strings(frame: &DataFrame, name: &str) -> Result<Vec<String>> {
    text(frame, name)?
        .iter()
        .enumerate()
        .map(|(row, v)| v.map(str::to_owned).ok_or_else(|| missing(name, row)))
        .collect()
}

/// All strings of a column in which some may be missing.
///
/// # Errors
/// If there is no such column, or if it is of another type.
pub fn opt_strings(frame: &DataFrame, name: &str) -> Result<Vec<Option<String>>> {
    Ok(text(frame, name)?.iter().map(|v| v.map(str::to_owned)).collect())
}

fn text<'a>(frame: &'a DataFrame, name: &str) -> Result<&'a StringChunked> {
    Ok(column(frame, name, &DataType::String)?.as_materialized_series().str()?)
}

/// All values of a `u32` column; an error where one is missing.
///
/// # Errors
/// If there is no such column, or if it is of another type; where a value is missing, with its row.
pub fn u32s(frame: &DataFrame, name: &str) -> Result<Vec<u32>> {
    complete(column(frame, name, &DataType::UInt32)?.as_materialized_series().u32()?, name)
}

/// All values of an `f32` column; an error where one is missing.
///
/// # Errors
/// If there is no such column, or if it is of another type; where a value is missing, with its row.
pub fn f32s(frame: &DataFrame, name: &str) -> Result<Vec<f32>> {
    complete(column(frame, name, &DataType::Float32)?.as_materialized_series().f32()?, name)
}

/// All values of an `f64` column; an error where one is missing.
///
/// # Errors
/// If there is no such column, or if it is of another type; where a value is missing, with its row.
pub fn f64s(frame: &DataFrame, name: &str) -> Result<Vec<f64>> {
    complete(doubles(frame, name)?, name)
}

/// All values of an `f64` column in which some may be missing.
///
/// # Errors
/// If there is no such column, or if it is of another type.
pub fn opt_f64s(frame: &DataFrame, name: &str) -> Result<Vec<Option<f64>>> {
    Ok(doubles(frame, name)?.iter().collect())
}

fn doubles<'a>(frame: &'a DataFrame, name: &str) -> Result<&'a ChunkedArray<Float64Type>> {
    Ok(column(frame, name, &DataType::Float64)?.as_materialized_series().f64()?)
}

fn complete<T: PolarsNumericType>(values: &ChunkedArray<T>, name: &str) -> Result<Vec<T::Native>> {
    values.iter().enumerate().map(|(row, v)| v.ok_or_else(|| missing(name, row))).collect()
}

/// All lists of a column of `u32` lists; an error where a list or a value is missing.
///
/// # Errors
/// If there is no such column, or if it is of another type; where a value is missing, with its row.
pub fn u32_lists(frame: &DataFrame, name: &str) -> Result<Vec<Vec<u32>>> {
    lists(frame, name, DataType::UInt32, |s| complete(s.u32()?, name))
}

/// All lists of a column of `f32` lists; an error where a list or a value is missing.
///
/// # Errors
/// If there is no such column, or if it is of another type; where a value is missing, with its row.
pub fn f32_lists(frame: &DataFrame, name: &str) -> Result<Vec<Vec<f32>>> {
    lists(frame, name, DataType::Float32, |s| complete(s.f32()?, name))
}

fn lists<V: NumericNative>(
    frame: &DataFrame,
    name: &str,
    inner: DataType,
    values: impl Fn(&Series) -> Result<Vec<V>>,
) -> Result<Vec<Vec<V>>> {
    let lists: &ListChunked = column(frame, name, &DataType::List(Box::new(inner)))?.as_materialized_series().list()?;
    (0..lists.len()).map(|row| values(&lists.get_as_series(row).ok_or_else(|| missing(name, row))?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Column> {
        vec![
            string_column("text", &["a", "\u{5f88}好", ""]),
            opt_string_column("speaker", &[Some("Ann"), None, Some("Bo")]),
            u32_column("label_id", &[0, 7, u32::MAX]),
            f32_column("score", &[0.5, -1.0, 2.0]),
            opt_f64_column("value", &[Some(-0.25), None, Some(1e-9)]),
            u32_list_column("input_ids", &[vec![1, 2, 3], vec![], vec![9]]),
            f32_list_column("scores", &[vec![0.5], vec![1.5, 2.5], vec![]]),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        write_parquet(&path, sample()).unwrap();
        let frame = read_parquet(&path).unwrap();
        assert_eq!(strings(&frame, "text").unwrap(), ["a", "\u{5f88}好", ""]);
        assert_eq!(opt_strings(&frame, "speaker").unwrap(), [Some("Ann".to_owned()), None, Some("Bo".to_owned())]);
        assert_eq!(u32s(&frame, "label_id").unwrap(), [0, 7, u32::MAX]);
        assert_eq!(f32s(&frame, "score").unwrap(), [0.5, -1.0, 2.0]);
        assert_eq!(opt_f64s(&frame, "value").unwrap(), [Some(-0.25), None, Some(1e-9)]);
        assert_eq!(u32_lists(&frame, "input_ids").unwrap(), [vec![1, 2, 3], vec![], vec![9]]);
        assert_eq!(f32_lists(&frame, "scores").unwrap(), [vec![0.5], vec![1.5, 2.5], vec![]]);
    }

    #[test]
    fn the_same_table_gives_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| {
            let path = dir.path().join(name);
            write_parquet(&path, sample()).unwrap();
            std::fs::read(path).unwrap()
        });
        assert_eq!(a, b);
    }

    #[test]
    fn an_empty_table_keeps_its_columns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        write_parquet(&path, vec![string_column::<&str>("text", &[]), u32_list_column::<Vec<u32>>("input_ids", &[])])
            .unwrap();
        let frame = read_parquet(&path).unwrap();
        assert!(strings(&frame, "text").unwrap().is_empty());
        assert!(u32_lists(&frame, "input_ids").unwrap().is_empty());
    }

    #[test]
    fn errors_name_the_column_and_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        write_parquet(&path, sample()).unwrap();
        let frame = read_parquet(&path).unwrap();
        let missing = strings(&frame, "txt").unwrap_err().message;
        assert!(missing.contains("`txt`") && missing.contains("text, speaker"), "{missing}");
        assert!(u32s(&frame, "text").unwrap_err().message.contains("column `text` holds String"));
        assert!(strings(&frame, "speaker").unwrap_err().message.contains("row 1"));
        std::fs::write(&path, b"PAR1 nonsense").unwrap();
        assert!(read_parquet(&path).unwrap_err().message.contains("t.parquet"));
    }
}
