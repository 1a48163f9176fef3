// In cuDNN's place for the tests: a descriptor is a list of numbers.
#include <string.h>

int cudnnGetTensorNdDescriptor(const int* told, int most, int* type, int* count, int size[], int stride[]) {
    *type = told[0];
    *count = 4;
    memcpy(size, told + 1, 16);
    memcpy(stride, told + 5, 16);
    return 0;
}
int cudnnGetFilterNdDescriptor(const int* told, int most, int* type, int* format, int* count, int size[]) {
    *type = told[0];
    *format = 0;
    *count = 4;
    memcpy(size, told + 1, 16);
    return 0;
}
int cudnnGetConvolutionNdDescriptor(const int* told, int most, int* count, int padding[], int stride[],
                                    int dilation[], int* mode, int* compute) {
    *count = 2;
    padding[0] = told[0], padding[1] = told[1];
    stride[0] = told[2], stride[1] = told[3];
    dilation[0] = told[4], dilation[1] = told[5];
    *mode = 1;
    *compute = told[6];
    return 0;
}
int cudnnGetConvolutionGroupCount(const int* told, int* count) {
    *count = told[7];
    return 0;
}
