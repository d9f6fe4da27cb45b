//! Packed matrices mean what their files say, and refuse what they cannot hold.
#![expect(clippy::float_cmp, reason = "the values are exact")]

use super::*;
use crate::DeviceOptions;
use crate::dtype::testing::random_rows;

fn device() -> Device {
    Device::cpu(&DeviceOptions::default()).unwrap()
}

#[test]
fn packed_rows_mean_what_the_file_says() {
    let device = device();
    for (index, dtype) in Dtype::ALL.into_iter().enumerate() {
        for rows in [1, 31, 32, 70] {
            let in_features = if dtype.block_elements() == 1 { 19 } else { 512 };
            let bytes = random_rows(dtype, rows, in_features, index as u64);
            let part = MatrixPart { dtype, out_features: rows, bytes: &bytes };
            let matrix = Matrix::pack(&device, &[part], in_features).unwrap();
            let row_bytes = bytes.len() / rows;
            let (mut expected, mut actual) = (vec![0.0; in_features], vec![0.0; in_features]);
            for n in 0..rows {
                dtype::dequantize_row(dtype, &bytes[n * row_bytes..][..row_bytes], &mut expected);
                matrix.read_row(n, &mut actual);
                assert_eq!(actual, expected, "{dtype} row {n} of {rows}");
            }
        }
    }
}

#[test]
fn packing_puts_every_element_in_its_place() {
    for (index, dtype) in Dtype::ALL.into_iter().enumerate() {
        let block = dtype.block_elements();
        let sizes = if block == 1 { [1, 19, 160] } else { [block, 3 * block, 5 * block] };
        for (rows, in_features) in [1, 31, 32, 70].into_iter().flat_map(|r| sizes.map(|n| (r, n))) {
            let bytes = random_rows(dtype, rows, in_features, index as u64);
            let part = MatrixPart { dtype, out_features: rows, bytes: &bytes };
            let matrix = Matrix::pack(&device(), &[part], in_features).unwrap();
            let mut expected = vec![0; matrix.memory_bytes()];
            let panel_bytes = panel_bytes(dtype, in_features);
            for (n, row) in bytes.chunks_exact(bytes.len() / rows).enumerate() {
                let panel = &mut expected[n / PANEL_COLUMNS * panel_bytes..];
                place_elements(dtype, row, n % PANEL_COLUMNS, panel);
            }
            assert!(
                matrix.parts()[0].panels_from(0) == expected,
                "{dtype} [{rows}, {in_features}]"
            );
        }
    }
}

fn place_elements(dtype: Dtype, row: &[u8], column: usize, panel: &mut [u8]) {
    if let Some(layout) = BlockLayout::of(dtype) {
        for block in 0..row.len() / dtype.block_bytes() * (dtype.block_elements() / BLOCK) {
            layout.write(panel, block, column, &blocks::read(dtype, row, block));
        }
        return;
    }
    for (k, element) in row.chunks_exact(dtype.block_bytes()).enumerate() {
        let at = float_at(dtype, k, column);
        panel[at..at + element.len()].copy_from_slice(element);
    }
}

#[test]
fn weights_are_not_inflated() {
    for dtype in Dtype::ALL {
        let bytes = dtype.row_bytes(2048).unwrap() * 64;
        let part = MatrixPart { dtype, out_features: 64, bytes: &vec![0; bytes] };
        let matrix = Matrix::pack(&device(), &[part], 2048).unwrap();
        assert!(matrix.memory_bytes() * 100 <= bytes * 103, "{dtype}");
    }
}

#[test]
fn stacked_parts_keep_their_rows() {
    let floats = dtype::quantize_row(Dtype::F32, &[1.0; 3 * 32]).unwrap();
    let quants = random_rows(Dtype::Q4_0, 5, 32, 7);
    let parts = [
        MatrixPart { dtype: Dtype::F32, out_features: 1, bytes: &floats[..128] },
        MatrixPart { dtype: Dtype::F32, out_features: 2, bytes: &floats[128..] },
        MatrixPart { dtype: Dtype::Q4_0, out_features: 5, bytes: &quants },
    ];
    let matrix = Matrix::pack(&device(), &parts, 32).unwrap();
    assert_eq!(format!("{matrix:?}"), "Matrix[8, 32][F32, Q4_0]");
    let (mut row, mut expected) = ([0.0; 32], [0.0; 32]);
    matrix.read_row(2, &mut row);
    assert_eq!(row, [1.0; 32]);
    matrix.read_row(7, &mut row);
    dtype::dequantize_row(Dtype::Q4_0, &quants[4 * 18..], &mut expected);
    assert_eq!(row, expected);
}

#[test]
fn hostile_shapes_are_refused() {
    let device = device();
    let pack = |dtype, out_features, bytes: &[u8], in_features| {
        Matrix::pack(&device, &[MatrixPart { dtype, out_features, bytes }], in_features)
            .unwrap_err()
    };
    assert!(matches!(
        pack(Dtype::Q8_0, 2, &[0; 67], 32),
        Error::MatrixBytes { expected_bytes: 68, actual_bytes: 67, .. }
    ));
    assert!(matches!(pack(Dtype::Q8_0, 1, &[0; 34], 33), Error::RowLength { elements: 33, .. }));
    assert!(matches!(pack(Dtype::F32, 0, &[], 1), Error::MatrixShape { .. }));
    assert!(matches!(pack(Dtype::F32, 1, &[], 0), Error::MatrixShape { .. }));
    assert!(matches!(pack(Dtype::F32, usize::MAX, &[], 1 << 20), Error::MatrixShape { .. }));
    assert!(matches!(Matrix::pack(&device, &[], 32), Err(Error::MatrixShape { .. })));
}
