// Replaces cuDNN's descriptors in the tests: a descriptor is a list of numbers.
#include <string.h>

int cudnnGetTensorNdDescriptor(const int* numbers, int most, int* type, int* count, int size[],
                               int stride[]) {
    *type = numbers[0];
    *count = 4;
    memcpy(size, numbers + 1, 16);
    memcpy(stride, numbers + 5, 16);
    return 0;
}
int cudnnGetFilterNdDescriptor(const int* numbers, int most, int* type, int* format, int* count,
                               int size[]) {
    *type = numbers[0];
    *format = 0;
    *count = 4;
    memcpy(size, numbers + 1, 16);
    return 0;
}
int cudnnGetConvolutionNdDescriptor(const int* numbers, int most, int* count, int padding[],
                                    int stride[], int dilation[], int* mode, int* compute) {
    *count = 2;
    padding[0] = numbers[0], padding[1] = numbers[1];
    stride[0] = numbers[2], stride[1] = numbers[3];
    dilation[0] = numbers[4], dilation[1] = numbers[5];
    *mode = 1;
    *compute = numbers[6];
    return 0;
}
int cudnnGetConvolutionGroupCount(const int* numbers, int* count) {
    *count = numbers[7];
    return 0;
}
